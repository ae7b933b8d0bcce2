// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "launch/options.h"

namespace tinderbox::launch {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

std::variant<Options, Printed> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "tinderbox-launch");
  return ParseArguments(static_cast<int>(arguments.size()), arguments.data());
}

TEST(ArgumentsTest, StartTakesEverything) {
  const auto parsed = Parse(
      {"--json",   "start", "--id",     "a", "--vmm",     "qemu",      "--kernel",  "k",
       "--initrd", "i",     "--rootfs", "r", "--netns",   "n",         "--tap",     "t",
       "--memory", "64",    "--cpus",   "2", "--cmdline", "quiet x=y", "--detach",  "--timings",
       "--uid",    "5",     "--gid",    "6", "--grace",   "250ms",     "--run-dir", "/d"});
  ASSERT_TRUE(std::holds_alternative<Options>(parsed)) << std::get<Printed>(parsed).text;
  const auto& options = std::get<Options>(parsed);
  EXPECT_TRUE(options.json);
  EXPECT_EQ(options.run_dir, "/d");
  const auto& start = std::get<StartOptions>(options.command);
  EXPECT_EQ(start.cmdline, "quiet x=y");
  EXPECT_EQ(start.memory_mib, 64u);
  EXPECT_EQ(start.grace, milliseconds(250));
  EXPECT_TRUE(start.detach && start.timings);
  EXPECT_EQ(start.uid, 5u);
  EXPECT_EQ(start.gid, 6u);
}

TEST(ArgumentsTest, ComplaintsHaveTheirOwnExitCode) {
  for (const auto& arguments : std::vector<std::vector<const char*>>{
           {},
           {"start"},
           {"fly"},
           {"stop"},
           {"stop", "x", "--grace", "soon"},
           {"start", "--id", "a", "--vmm", "bochs", "--kernel", "k"}}) {
    const auto parsed = Parse(arguments);
    ASSERT_TRUE(std::holds_alternative<Printed>(parsed));
    EXPECT_EQ(std::get<Printed>(parsed).exit_code, 2);
    EXPECT_FALSE(std::get<Printed>(parsed).text.empty());
  }
}

TEST(ArgumentsTest, HelpHasExamples) {
  const auto parsed = Parse({"start", "--help"});
  ASSERT_TRUE(std::holds_alternative<Printed>(parsed));
  EXPECT_EQ(std::get<Printed>(parsed).exit_code, 0);
  EXPECT_THAT(std::get<Printed>(parsed).text, HasSubstr("sudo tinderbox-launch start --id"));
}

TEST(ArgumentsTest, Grace) {
  EXPECT_EQ(ParseGrace("10s").value(), milliseconds(10000));
  EXPECT_EQ(ParseGrace("0s").value(), milliseconds(0));
  EXPECT_EQ(ParseGrace("7").value(), milliseconds(7000));
  EXPECT_EQ(ParseGrace("500ms").value(), milliseconds(500));
  EXPECT_EQ(ParseGrace("2m").value(), milliseconds(120000));
  for (const char* bad : {"", "s", "-1s", "1.5s", "10 s", "25h", "99999999999s", "10x"}) {
    EXPECT_FALSE(ParseGrace(bad)) << bad;
  }
}

}  // namespace
}  // namespace tinderbox::launch
