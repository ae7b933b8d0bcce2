// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/notify.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

#include "sys/fd.h"

namespace tinderbox::daemon {
namespace {

TEST(Notify, ReachesAnAbstractSocketAndAFile) {
  for (const bool abstract : {true, false}) {
    const std::string name =
        fmt::format("{}tb-notify-{}", abstract ? "@" : testing::TempDir(), getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (abstract) address.sun_path[0] = '\0';
    const sys::UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())),
              0);
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
    NotifyServiceManager("READY=1");
    char text[32] = "";
    EXPECT_EQ(recv(fd.get(), text, sizeof(text), MSG_DONTWAIT), 7);
    EXPECT_STREQ(text, "READY=1");
    if (!abstract) unlink(name.c_str());
  }
  unsetenv("NOTIFY_SOCKET");
}

TEST(Notify, NobodyAskedAndNobodyListens) {
  unsetenv("NOTIFY_SOCKET");
  NotifyServiceManager("READY=1");
  setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
  NotifyServiceManager("READY=1");
  setenv("NOTIFY_SOCKET", std::string(500, '/').c_str(), 1);
  NotifyServiceManager("READY=1");
  unsetenv("NOTIFY_SOCKET");
}

}  // namespace
}  // namespace tinderbox::daemon
