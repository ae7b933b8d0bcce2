// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "sys/file.h"
#include "sys/netns.h"

namespace tinderbox::sys {
namespace {

using base::Code;

ino_t NamespaceOf(FdRef fd) {
  struct stat file{};
  EXPECT_EQ(fstat(fd.get(), &file), 0);
  return file.st_ino;
}

class NetNsRootTest : public ::testing::Test {
 protected:
  ~NetNsRootTest() override { EXPECT_TRUE(UnnameNetNs(name_)); }
  bool Listed() const {
    const auto names = NetNsNames();
    return names && std::ranges::find(*names, name_) != names->end();
  }
  const std::string name_ = fmt::format("sysns-{}", getpid());
};

TEST_F(NetNsRootTest, ANameComesAndGoes) {
  const auto netns = NewNetNs();
  ASSERT_TRUE(netns) << netns.error().ToString();
  EXPECT_EQ(OpenNetNs(name_).error().code(), Code::kNotFound);
  ASSERT_TRUE(NameNetNs(*netns, name_));
  EXPECT_TRUE(Listed());
  const auto opened = OpenNetNs(name_);
  ASSERT_TRUE(opened);
  EXPECT_EQ(NamespaceOf(*opened), NamespaceOf(*netns));
  EXPECT_EQ(NameNetNs(*netns, name_).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(NamespaceOf(*OpenNetNs(name_)), NamespaceOf(*netns)) << "the first one holds";
  EXPECT_TRUE(*UnnameNetNs(name_));
  EXPECT_FALSE(*UnnameNetNs(name_));
  EXPECT_FALSE(Listed());
}

TEST_F(NetNsRootTest, APlainFileIsNoNamespaceButCanBeRemoved) {
  ASSERT_TRUE(NameNetNs(*NewNetNs(), name_));
  ASSERT_TRUE(UnnameNetNs(name_));
  ASSERT_TRUE(Open(NetNsPath(name_), O_CREAT | O_WRONLY, 0444));
  EXPECT_EQ(OpenNetNs(name_).error().code(), Code::kFailedPrecondition);
  EXPECT_TRUE(*UnnameNetNs(name_));
}

TEST_F(NetNsRootTest, NamesThatArePathsAreRefused) {
  const auto netns = NewNetNs();
  ASSERT_TRUE(netns);
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("../x"), std::string("a/b"),
        std::string(65, 'a'), std::string("a\0b", 3)}) {
    EXPECT_EQ(NameNetNs(*netns, name).error().code(), Code::kInvalidArgument) << name;
    EXPECT_EQ(OpenNetNs(name).error().code(), Code::kInvalidArgument) << name;
    EXPECT_EQ(UnnameNetNs(name).error().code(), Code::kInvalidArgument) << name;
  }
}

TEST_F(NetNsRootTest, WorkRunsInsideAndTheCallerStaysOutside) {
  const auto home = CurrentNetNs();
  const auto netns = NewNetNs();
  ASSERT_TRUE(home && netns);
  EXPECT_NE(NamespaceOf(*home), NamespaceOf(*netns));
  ino_t inside = 0;
  sigset_t blocked;
  const auto look = [&]() -> base::Result<> {
    const UniqueFd here = TRY(CurrentNetNs());
    inside = NamespaceOf(here);
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    return {};
  };
  ASSERT_TRUE(RunInNetNs(*netns, look));
  EXPECT_EQ(inside, NamespaceOf(*netns));
  EXPECT_EQ(NamespaceOf(*CurrentNetNs()), NamespaceOf(*home));
  EXPECT_TRUE(sigismember(&blocked, SIGTERM)) << "signals are not for this thread";
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_FALSE(sigismember(&mine, SIGTERM));
}

TEST_F(NetNsRootTest, TheErrorOfTheWorkIsReturned) {
  const auto netns = NewNetNs();
  ASSERT_TRUE(netns);
  const auto failed =
      RunInNetNs(*netns, []() -> base::Result<> { return base::Fail(Code::kDataLoss, "x"); });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::kDataLoss);
  const auto file = Open("/dev/null", O_RDONLY);
  ASSERT_TRUE(file);
  EXPECT_FALSE(RunInNetNs(*file, []() -> base::Result<> { return {}; })) << "no namespace at all";
}

}  // namespace
}  // namespace tinderbox::sys
