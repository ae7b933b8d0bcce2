// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What was acknowledged is there after a kill -9 in the middle of writing.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "store/store.h"

namespace tinderbox::store {
namespace {

// Runs in the child: writes records for ever, and a byte to `acknowledged` after each.
[[noreturn]] void WriteForEver(const std::string& path, int acknowledged) {
  auto store = OpenStore(path);
  if (!store) _exit(1);
  for (int i = 0;; ++i) {
    SandboxRecord record;
    record.id = "i" + std::to_string(i);
    record.state = "creating";
    record.cause = std::string(3000, 'c');
    if (!(*store)->InsertSandbox(record)) _exit(2);
    record.state = "running";
    if (!(*store)->UpdateSandbox(record, "creating")) _exit(3);
    if (write(acknowledged, "x", 1) != 1) _exit(4);
  }
}

TEST(StoreDurability, AcknowledgedRecordsSurviveKill9) {
  std::string dir = testing::TempDir() + "tb-store-XXXXXX";
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  for (int round = 0; round < 5; ++round) {
    const std::string path = dir + "/" + std::to_string(round) + ".db";
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) WriteForEver(path, fds[1]);
    close(fds[1]);
    int acknowledged = 0;
    char byte = 0;
    while (acknowledged < 17 + 13 * round && read(fds[0], &byte, 1) == 1) ++acknowledged;
    ASSERT_EQ(kill(child, SIGKILL), 0);
    while (read(fds[0], &byte, 1) == 1) ++acknowledged;  // said before it died
    close(fds[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;

    auto store = OpenStore(path);
    ASSERT_TRUE(store) << store.error().ToString();
    for (int i = 0; i < acknowledged; ++i) {
      const auto record = (*store)->GetSandbox("i" + std::to_string(i));
      ASSERT_TRUE(record) << "record " << i << " of " << acknowledged << " is lost";
      EXPECT_EQ(record->state, "running");
    }
    // At most the one that was being written is there beyond those.
    EXPECT_LE((*store)->ListSandboxes()->size(), static_cast<std::size_t>(acknowledged) + 1);
  }
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace tinderbox::store
