// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What a guest's kernel may say to the server of a volume: any messages, in any order. Each input
// works on a directory with a few things in it, on a small tmpfs of its own; whatever comes, what
// stands beside that directory stays as it is.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "tests/fuzz/fuzz.h"
#include "volume/fuse_server.h"

namespace tinderbox {
namespace {

namespace fs = std::filesystem;

constexpr char kAround[] = "/tmp/tinderbox-fuse-fuzz";

// Once: a place that nobody else sees, and that goes with this process.
bool Prepare() {
  ::umask(0);
  fs::create_directories(kAround);
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", kAround, "tmpfs", 0, "size=16m,nr_inodes=4096") != 0) {
    std::perror("fuzz: this takes root");
    std::exit(1);
  }
  return true;
}

void Make(const std::string& path, const char* text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  fuzz::Require(fd >= 0 && ::write(fd, text, std::strlen(text)) >= 0, "make a file");
  ::close(fd);
}

}  // namespace
}  // namespace tinderbox

// The input: messages one after the other, each a byte with its opcode, a byte with its node, two
// bytes with the length of its body, and that.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  static const bool prepared = Prepare();
  fuzz::Require(prepared, "a place to work in");
  const std::string root = std::string(kAround) + "/volume";
  fs::remove_all(root);
  fs::create_directories(root + "/d/e");
  Make(root + "/f", "some text");
  Make(root + "/d/g", "");
  ::symlink("../outside", (root + "/l").c_str());
  ::mkfifo((root + "/p").c_str(), 0666);
  Make(std::string(kAround) + "/outside", "as it was");

  volume::FuseServer server(sys::UniqueFd(::open(root.c_str(), O_PATH | O_CLOEXEC)), 0);
  while (size >= 4) {
    fuse_in_header head{};
    head.opcode = data[0];
    head.nodeid = data[1];
    head.unique = 1;
    const std::size_t body = std::min<std::size_t>(data[2] | data[3] << 8, size - 4);
    std::string message(sizeof head, '\0');
    message.append(reinterpret_cast<const char*>(data + 4), body);
    head.len = static_cast<std::uint32_t>(message.size());
    std::memcpy(message.data(), &head, sizeof head);
    std::string_view answer;
    fuzz::Require(server.Handle(message, answer), "a message of the right length is one");
    fuzz::Require(answer.empty() || answer.size() >= sizeof(fuse_out_header),
                  "an answer has a head");
    data += 4 + body;
    size -= 4 + body;
  }
  char text[16] = {};
  const int fd = ::open((std::string(kAround) + "/outside").c_str(), O_RDONLY | O_CLOEXEC);
  fuzz::Require(fd >= 0 && ::read(fd, text, sizeof text) == 9, "nothing outside is touched");
  ::close(fd);
  fuzz::Require(std::strcmp(text, "as it was") == 0, "nothing outside is changed");
  return 0;
}
