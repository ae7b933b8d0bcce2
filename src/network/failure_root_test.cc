// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// What goes wrong, and what is left then: nothing. Also who may open a slot's TAP, and where
// /run/netns is not yet what it has to be.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "network/pool_fixture.h"
#include "network/test_net.h"
#include "sys/file.h"
#include "sys/netlink.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using base::Code;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::HostState;
using testing::InChild;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::PoolTest;
using testing::Tool;

using NetworkFailureRootTest = PoolTest;

TEST_F(NetworkFailureRootTest, NoMoreSlotsThanConfigured) {
  options_.max_slots = 2;
  Open();
  Acquire();
  Acquire();
  const HostState before(options_.prefix);
  const auto third = pool_->Acquire({});
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code(), Code::kResourceExhausted);
  EXPECT_THAT(third.error().remedy(), Not(IsEmpty()));
  EXPECT_EQ(HostState(options_.prefix), before);
  ASSERT_TRUE(pool_->Release(1));
  EXPECT_EQ(Acquire().index, 1u);
}

TEST_F(NetworkFailureRootTest, ALinkThatHasTheNameIsPassedOverAndNamed) {
  options_.max_slots = 2;
  const std::string veth = options_.prefix + "v1";
  Tool({"ip", "link", "add", veth, "type", "veth", "peer", "name", "other"});
  Open();
  EXPECT_EQ(Acquire().index, 2u);
  const HostState before(options_.prefix);
  const auto none = pool_->Acquire({});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), Code::kResourceExhausted);
  EXPECT_EQ(HostState(options_.prefix), before);

  pool_.reset();
  ASSERT_TRUE(sys::UnnameNetNs(options_.prefix + "-2"));
  options_.max_slots = 1;
  Open();
  const auto taken = pool_->Acquire({});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), Code::kAlreadyExists);
  EXPECT_THAT(taken.error().message(), HasSubstr(veth));
  EXPECT_THAT(taken.error().remedy(), Not(IsEmpty()));
  EXPECT_THAT(Tool({"ip", "link", "show", "dev", veth}), HasSubstr(veth)) << "left alone";
}

TEST_F(NetworkFailureRootTest, ANamespaceThatHasTheNameIsPassedOver) {
  Tool({"ip", "netns", "add", options_.prefix + "-1"});
  Open();
  EXPECT_EQ(Acquire().index, 2u);
  EXPECT_TRUE(sys::OpenNetNs(options_.prefix + "-1")) << "left alone";
  // Sweep makes room.
  ASSERT_TRUE(pool_->Sweep());
  EXPECT_EQ(Acquire().index, 1u);
}

TEST_F(NetworkFailureRootTest, ALinkOfAnotherKindIsNotSwept) {
  const std::string name = options_.prefix + "v3";
  Tool({"ip", "tuntap", "add", name, "mode", "tap"});
  Open();
  const auto swept = pool_->Sweep();
  ASSERT_TRUE(swept);
  EXPECT_THAT(*swept, Contains(HasSubstr("left alone")));
  EXPECT_THAT(Tool({"ip", "link"}), HasSubstr(name));
}

TEST_F(NetworkFailureRootTest, ACidrThatTheHostUsesIsRefused) {
  Tool({"ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1"});
  Tool({"ip", "link", "set", "lan0", "up"});
  for (const char* network : {"10.212.64.1/24", "10.1.2.3/8", "10.212.0.1/16"}) {
    Tool({"ip", "address", "add", network, "dev", "lan0"});
    const HostState before(options_.prefix);
    const auto pool = OpenSlotPool(options_);
    ASSERT_FALSE(pool) << network;
    EXPECT_EQ(pool.error().code(), Code::kFailedPrecondition);
    EXPECT_THAT(pool.error().message(), HasSubstr("lan0"));
    EXPECT_THAT(pool.error().remedy(), Not(IsEmpty()));
    EXPECT_EQ(HostState(options_.prefix), before);
    Tool({"ip", "address", "del", network, "dev", "lan0"});
  }
  Tool({"ip", "address", "add", "10.213.0.1/16", "dev", "lan0"});
  Open();
  // Our own veth pairs of an earlier life are no obstacle.
  Acquire();
  pool_.reset();
  Open();
}

TEST_F(NetworkFailureRootTest, WithoutRootTheErrorSaysSo) {
  for (const char* forwarding : {"0", "1"}) {
    ASSERT_TRUE(sys::WriteExisting("/proc/sys/net/ipv4/ip_forward", forwarding));
    const HostState before(options_.prefix);
    EXPECT_EQ(InChild([&] {
                if (setresuid(65534, 65534, 65534) != 0) return 2;
                const auto pool = OpenSlotPool(options_);
                if (pool) return 3;
                if (pool.error().code() != Code::kPermissionDenied) return 4;
                return pool.error().remedy().find("root") == std::string::npos ? 5 : 0;
              }),
              0);
    EXPECT_EQ(HostState(options_.prefix), before);
  }
}

// Whatever step fails first as descriptors run out, one by one: nothing is left, and the error says
// what could not be done.
TEST_F(NetworkFailureRootTest, EveryStepThatFailsIsUndone) {
  Open();
  ReleaseNow(Acquire().index);
  const HostState before(options_.prefix);
  rlimit usual{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &usual), 0);
  const sys::UniqueFd lowest(open("/dev/null", O_RDONLY | O_CLOEXEC));
  int failures = 0;
  for (rlim_t spare = 0; spare < 32; ++spare) {
    const rlimit tight{static_cast<rlim_t>(lowest.get()) + 1 + spare, usual.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
    const auto slot = pool_->Acquire({});
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &usual), 0);
    if (slot) {
      ReleaseNow(slot->index);
      break;
    }
    ++failures;
    EXPECT_THAT(slot.error().message(), HasSubstr("make network slot 1"));
    HostState after(options_.prefix);
    after.descriptors -= 1;  // `lowest`
    EXPECT_EQ(after, before) << slot.error().ToString();
  }
  EXPECT_GE(failures, 3) << "too few steps were made to fail";
  EXPECT_LT(failures, 32) << "it never succeeded";
}

int OpenTapAs(const Slot& slot, uid_t uid, gid_t gid, int extra_flags) {
  return InChild([&] {
    const auto netns = sys::OpenNetNs(slot.netns_name);
    if (!netns || setns(netns->get(), CLONE_NEWNET) != 0) return 101;
    // Opened before root is given up: the mode of the device node is the jail's business.
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0 || setgroups(0, nullptr) != 0 || setresgid(gid, gid, gid) != 0 ||
        setresuid(uid, uid, uid) != 0) {
      return 102;
    }
    ifreq request{};
    std::strcpy(request.ifr_name, kTapName);
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | extra_flags);
    return ioctl(fd, TUNSETIFF, &request) == 0 ? 0 : errno;
  });
}

TEST_F(NetworkFailureRootTest, OnlyTheSlotsUserOpensItsTap) {
  Open();
  const Slot slot = Acquire();
  const Slot other = Acquire();
  // As Firecracker does, and as QEMU may.
  EXPECT_EQ(OpenTapAs(slot, slot.uid, slot.uid, IFF_VNET_HDR), 0);
  EXPECT_EQ(OpenTapAs(slot, slot.uid, slot.uid, 0), 0);
  EXPECT_EQ(OpenTapAs(slot, other.uid, other.uid, IFF_VNET_HDR), EPERM);
  EXPECT_EQ(OpenTapAs(slot, 65534, 65534, 0), EPERM);
  EXPECT_EQ(OpenTapAs(slot, slot.uid, 65534, 0), EPERM) << "the group counts too";
}

// A process whose /run is fresh, in a mount namespace of its own that shares nothing.
TEST_F(NetworkFailureRootTest, MakesRunNetnsWhereThereIsNone) {
  const auto check = [&]() -> int {
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      return 2;
    }
    while (umount2("/run/netns", MNT_DETACH) == 0) {
    }
    if (mount("tmpfs", "/run", "tmpfs", 0, nullptr) != 0) return 2;
    auto pool = OpenSlotPool(options_);
    if (!pool) return 3;
    const auto slot = (*pool)->Acquire({});
    if (!slot || !(*pool)->Acquire({})) return 4;
    struct stat file{};
    if (stat("/run/netns", &file) != 0 || (file.st_mode & 07777) != 0755) return 5;
    const auto mounts = sys::ReadFile("/proc/self/mountinfo");
    const auto first = mounts ? mounts->find(" /run/netns ") : std::string::npos;
    if (first == std::string::npos) return 6;
    const std::string line = mounts->substr(first, mounts->find('\n', first) - first);
    if (line.find(" shared:") == std::string::npos) return 7;
    // Once, however many slots were made.
    if (mounts->find(" /run/netns ", first + 1) != std::string::npos) return 8;
    if (Tool({"ip", "-n", slot->netns_name, "link"}).find("tap0") == std::string::npos) return 9;
    if (!(*pool)->Release(1) || !(*pool)->Release(2)) return 10;
    pool->reset();
    return std::filesystem::is_empty("/run/netns") ? 0 : 11;
  };
  EXPECT_EQ(InChild(check), 0);
}

// A mount namespace made while the slot stood holds a copy of its mount; the release reaches it.
TEST_F(NetworkFailureRootTest, ReleaseReachesMountNamespacesThatFollow) {
  Open();
  const Slot slot = Acquire();
  int go[2], gone[2];
  ASSERT_EQ(pipe2(go, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(gone, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte = 0;
    if (unshare(CLONE_NEWNS) != 0 || !sys::OpenNetNs(slot.netns_name)) _exit(2);
    if (write(gone[1], "r", 1) != 1 || read(go[0], &byte, 1) != 1) _exit(3);
    const auto mounts = sys::ReadFile("/proc/self/mountinfo");
    _exit(mounts && mounts->find(slot.netns_path + " ") == std::string::npos ? 0 : 4);
  }
  char byte = 0;
  ASSERT_EQ(read(gone[0], &byte, 1), 1);
  ReleaseNow(slot.index);
  ASSERT_EQ(write(go[1], "g", 1), 1);
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  for (const int fd : {go[0], go[1], gone[0], gone[1]}) close(fd);
}

TEST_F(NetworkFailureRootTest, WarnsOfWhatAHostGetsWrong) {
  Open();
  EXPECT_THAT(HostWarnings(options_), Contains(HasSubstr("default route")));
  Tool({"ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1"});
  Tool({"ip", "link", "set", "lan0", "up"});
  Tool({"ip", "address", "add", "192.0.2.2/24", "dev", "lan0"});
  Tool({"ip", "route", "add", "default", "via", "192.0.2.1"});
  EXPECT_THAT(HostWarnings(options_), IsEmpty());
  Tool({"nft", "add", "table", "ip", "filter"});
  Tool({"nft",
        "add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }"});
  EXPECT_THAT(HostWarnings(options_), Contains(HasSubstr("'ip filter FORWARD'")));
  Tool({"nft", "delete", "table", "ip", "filter"});
  ASSERT_TRUE(sys::WriteExisting("/proc/sys/net/ipv4/ip_forward", "0"));
  EXPECT_THAT(HostWarnings(options_), Contains(HasSubstr("forwarding is off")));
}

}  // namespace
}  // namespace tinderbox::network
