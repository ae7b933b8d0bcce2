// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The requests that a guest's kernel may send to the server of a volume: any messages, in any
// order. Each input works on a directory with a few files, on a small tmpfs. No input may change
// the file beside that directory.
#include <fcntl.h>
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

// Makes the tmpfs and returns its path. It is mounted nowhere: it has only a descriptor, so it
// needs no directory on the host, and the kernel frees it when this process ends, however it ends.
std::string MakeTmpfs() {
  ::umask(0);
  const int options = ::fsopen("tmpfs", FSOPEN_CLOEXEC);
  if (options < 0 || ::fsconfig(options, FSCONFIG_SET_STRING, "size", "16m", 0) != 0 ||
      ::fsconfig(options, FSCONFIG_SET_STRING, "nr_inodes", "4096", 0) != 0 ||
      ::fsconfig(options, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    std::perror("fuzz: make a tmpfs (needs root)");
    std::exit(1);
  }
  const int tmpfs = ::fsmount(options, FSMOUNT_CLOEXEC, 0);
  fuzz::Require(tmpfs >= 0, "mount a tmpfs");
  ::close(options);
  return "/proc/self/fd/" + std::to_string(tmpfs);
}

void Make(const std::string& path, const char* text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  fuzz::Require(fd >= 0 && ::write(fd, text, std::strlen(text)) >= 0, "make a file");
  ::close(fd);
}

}  // namespace
}  // namespace tinderbox

// The input is a sequence of messages. Each has an opcode (one byte), a node (one byte), the length
// of the body (two bytes) and the body.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  static const std::string around = MakeTmpfs();
  const std::string root = around + "/volume";
  fs::remove_all(root);
  fs::create_directories(root + "/d/e");
  Make(root + "/f", "some text");
  Make(root + "/d/g", "");
  ::symlink("../outside", (root + "/l").c_str());
  ::mkfifo((root + "/p").c_str(), 0666);
  Make(around + "/outside", "as it was");

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
  const int fd = ::open((around + "/outside").c_str(), O_RDONLY | O_CLOEXEC);
  fuzz::Require(fd >= 0 && ::read(fd, text, sizeof text) == 9, "nothing outside is touched");
  ::close(fd);
  fuzz::Require(std::strcmp(text, "as it was") == 0, "nothing outside is changed");
  return 0;
}
