// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <csignal>

#include "cli/console_tail.h"
#include "cli/copy.h"
#include "cli/guest_files.h"
#include "cli/process_event.h"

namespace tinderbox::cli {
namespace {

using Kind = ProcessEvent::Kind;

ProcessEvent Decode(std::string_view payload) {
  ProcessEvent event;
  EXPECT_TRUE(DecodeProcessEvent(payload, event)) << payload;
  return event;
}

TEST(ProcessEventTest, DecodesEveryKind) {
  EXPECT_EQ(Decode(R"({"event":{"start":{"pid":42}}})").pid, 42U);
  EXPECT_EQ(Decode(R"({"event":{"data":{"stdout":"aGk="}}})").bytes, "hi");
  EXPECT_EQ(Decode(R"({"event":{"data":{"stdout":"aGk="}}})").kind, Kind::kStdout);
  EXPECT_EQ(Decode(R"({"event":{"data":{"stderr":"aGk="}}})").kind, Kind::kStderr);
  EXPECT_EQ(Decode(R"({"event":{"data":{"pty":"aGk="}}})").kind, Kind::kPty);
  EXPECT_EQ(Decode(R"({"event":{"keepalive":{}}})").kind, Kind::kOther);
  EXPECT_EQ(Decode(R"({"event":{"of a later version":{}}})").kind, Kind::kOther);
  const auto end =
      Decode(R"({"event":{"end":{"exitCode":7,"exited":true,"status":"exit status 7"}}})");
  EXPECT_EQ(end.kind, Kind::kEnd);
  EXPECT_EQ(ShellStatus(end), 7);
}

TEST(ProcessEventTest, DecodesOtherSpellings) {
  // White space, another order, escaped slashes, an empty chunk.
  EXPECT_EQ(Decode(R"({ "event": {"data": {"stdout": "aGk="}} })").bytes, "hi");
  EXPECT_EQ(Decode(R"({"event":{"data":{"stdout":"\/\/\/\/"}}})").bytes, "\xff\xff\xff");
  EXPECT_EQ(Decode(R"({"event":{"data":{}}})").kind, Kind::kOther);
}

TEST(ProcessEventTest, RefusesGarbage) {
  ProcessEvent event;
  for (const char* bad : {"", "[]", "{", R"({"event":{"data":{"stdout":"!!"}}})",
                          R"({"event":{"data":{"stdout":7}}})"}) {
    EXPECT_FALSE(DecodeProcessEvent(bad, event)) << bad;
  }
}

TEST(ProcessEventTest, SignalsBecomeWhatAShellSays) {
  const auto status = [](std::string_view words) {
    return ShellStatus(
        {.kind = Kind::kEnd, .exit_code = -1, .status = "signal: " + std::string(words)});
  };
  EXPECT_EQ(status("killed"), 128 + SIGKILL);
  EXPECT_EQ(status("terminated"), 128 + SIGTERM);
  EXPECT_EQ(status("segmentation fault (core dumped)"), 128 + SIGSEGV);
  EXPECT_EQ(status("signal 40"), 168);
  EXPECT_EQ(status("surprise"), 255);
}

TEST(ConsoleTailTest, YieldsWhatIsNew) {
  ConsoleTail tail;
  EXPECT_EQ(tail.Advance("one\n"), "one\n");
  EXPECT_EQ(tail.Advance("one\n"), "");
  EXPECT_EQ(tail.Advance("one\ntwo\n"), "two\n");
  EXPECT_EQ(tail.Advance("e\ntwo\nthree\n"), "three\n");  // the window has moved on
  EXPECT_EQ(tail.Advance("elsewhere"), "elsewhere");      // too much came in between
  EXPECT_EQ(tail.Advance("##"), "##");
  EXPECT_EQ(tail.Advance(""), "");
  EXPECT_EQ(tail.Advance("again"), "again");
}

TEST(CopyPlaceTest, TellsSandboxesFromFiles) {
  EXPECT_EQ(ParsePlace("web:/etc").sandbox, "web");
  EXPECT_EQ(ParsePlace("web:/etc").path, "/etc");
  EXPECT_EQ(ParsePlace("web:").path, "");
  EXPECT_EQ(ParsePlace("web:a:b").path, "a:b");
  for (const char* local : {"-", "file", "./a:b", "/a:b", "dir/a:b", ":x"}) {
    EXPECT_EQ(ParsePlace(local).sandbox, "") << local;
    EXPECT_EQ(ParsePlace(local).path, local);
  }
}

TEST(GuestPathTest, JoinsAndCuts) {
  EXPECT_EQ(JoinPath("", "a"), "a");
  EXPECT_EQ(JoinPath("/", "a"), "/a");
  EXPECT_EQ(JoinPath("/x", "a"), "/x/a");
  EXPECT_EQ(JoinPath("/x/", "a"), "/x/a");
  EXPECT_EQ(BaseName("/a/b/"), "b");
  EXPECT_EQ(BaseName("b"), "b");
  for (const char* none : {"/", "", ".", "..", "a/.."}) EXPECT_EQ(BaseName(none), "") << none;
  for (const char* bad : {"", ".", "..", "a/b", "/"}) EXPECT_FALSE(IsPlainName(bad)) << bad;
}

}  // namespace
}  // namespace tinderbox::cli
