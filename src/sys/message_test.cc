// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/message.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "sys/file.h"

namespace tinderbox::sys {
namespace {

using base::Code;
using base::Deadline;
using std::chrono::milliseconds;

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(MessageTest, WholeMessagesWithTheirSender) {
  auto [a, b] = MessagePair().value();
  ASSERT_TRUE(ReceiveSenders(a));
  ASSERT_TRUE(SendMessage(b, Bytes("one")));
  ASSERT_TRUE(SendMessage(b, Bytes("second")));
  std::array<std::byte, 16> buffer;
  const auto first = ReceiveMessage(a, buffer, Deadline::After(milliseconds(1000)));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->size, 3u);
  EXPECT_EQ(first->sender, ::getpid());
  EXPECT_EQ(ReceiveMessage(a, buffer, Deadline::After(milliseconds(1000)))->size, 6u);
  EXPECT_EQ(ReceiveMessage(a, buffer, Deadline::After(milliseconds(5))).error().code(),
            Code::kDeadlineExceeded);
  b.Reset();
  EXPECT_EQ(ReceiveMessage(a, buffer, Deadline::After(milliseconds(1000)))->size, 0u) << "hung up";
}

TEST(MessageTest, LastWordsOfAPeerThatDidNotListenAreHeard) {
  auto [a, b] = MessagePair().value();
  ASSERT_TRUE(SendMessage(a, Bytes("never read")));
  ASSERT_TRUE(SendMessage(b, Bytes("last words")));
  b.Reset();
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(ReceiveMessage(a, buffer, Deadline::After(milliseconds(1000)))->size, 10u);
  EXPECT_EQ(ReceiveMessage(a, buffer, Deadline::After(milliseconds(1000)))->size, 0u);
}

TEST(MessageTest, LongMessageIsAnErrorNotATail) {
  auto [a, b] = MessagePair().value();
  ASSERT_TRUE(SendMessage(b, Bytes("more than fits")));
  std::array<std::byte, 4> buffer;
  EXPECT_EQ(ReceiveMessage(a, buffer, Deadline::After({})).error().errno_value(), EMSGSIZE);
}

TEST(MessageTest, ListeningSocketIsPrivateWhateverTheUmask) {
  std::string path = testing::TempDir() + "tinderbox-message-XXXXXX";
  ASSERT_NE(::mkdtemp(path.data()), nullptr);
  // Longer than an address can be.
  const std::string deep = path + "/" + std::string(100, 'd');
  ASSERT_TRUE(MakeDirs(deep));
  const UniqueFd dir = Open(deep, O_RDONLY | O_DIRECTORY).value();
  const mode_t before = ::umask(0);
  const auto listener = ListenUnixAt(dir, "s");
  ::umask(before);
  ASSERT_TRUE(listener) << listener.error().ToString();
  EXPECT_EQ(Stat(deep + "/s").value().st_mode & 07777, 0600u);
  const UniqueFd file = Open(deep + "/s", O_PATH).value();
  EXPECT_TRUE(ConnectUnixFd(file));
  EXPECT_FALSE(ListenUnixAt(dir, "s")) << "the name is taken";
  // A closed listener refuses; it does not hang.
  UniqueFd closing(::fcntl(listener->get(), F_DUPFD_CLOEXEC, 0));
  ASSERT_EQ(::shutdown(closing.get(), SHUT_RDWR), 0);
  EXPECT_EQ(ConnectUnixFd(file).error().errno_value(), ECONNREFUSED);
  ASSERT_TRUE(RemoveTree(path));
}

TEST(MessageTest, FullBacklogDoesNotBlock) {
  std::string path = testing::TempDir() + "tinderbox-message-XXXXXX";
  ASSERT_NE(::mkdtemp(path.data()), nullptr);
  const UniqueFd dir = Open(path, O_RDONLY | O_DIRECTORY).value();
  const auto listener = ListenUnixAt(dir, "s");
  ASSERT_EQ(::listen(listener->get(), 0), 0);
  const UniqueFd file = Open(path + "/s", O_PATH).value();
  std::vector<UniqueFd> waiting;
  int err = 0;
  for (int i = 0; i < 10 && err == 0; ++i) {
    auto connection = ConnectUnixFd(file);
    if (connection) waiting.push_back(std::move(*connection));
    if (!connection) err = connection.error().errno_value();
  }
  EXPECT_EQ(err, EAGAIN);
  ASSERT_TRUE(RemoveTree(path));
}

}  // namespace
}  // namespace tinderbox::sys
