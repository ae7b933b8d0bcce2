// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/options.h"

namespace tinderbox::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

template <typename Options>
Options Parse(const std::vector<std::string>& words) {
  auto parsed = ParseArguments(words);
  if (const auto* stop = std::get_if<ParseStop>(&parsed)) {
    ADD_FAILURE() << stop->text;
    return {};
  }
  auto* options = std::get_if<Options>(&std::get<Invocation>(parsed).command);
  if (options == nullptr) {
    ADD_FAILURE() << "another command";
    return {};
  }
  return *options;
}

std::string Refusal(const std::vector<std::string>& words) {
  const auto parsed = ParseArguments(words);
  const auto* stop = std::get_if<ParseStop>(&parsed);
  if (stop == nullptr || stop->exit_code == 0) {
    ADD_FAILURE() << "accepted";
    return {};
  }
  return stop->text;
}

TEST(ArgumentsTest, RunTakesEverythingOfTheIssue) {
  const auto run = Parse<RunOptions>({"run",    "--rm", "-T",        "py",     "-i",       "-t",
                                      "-e",     "K=V",  "-e",        "EMPTY=", "-e",       "A=b=c",
                                      "-w",     "/tmp", "-u",        "root",   "--memory", "512",
                                      "--cpus", "2",    "--timeout", "1h30m",  "--name",   "n",
                                      "--",     "cmd",  "--rm",      "-e",     "--",       "x"});
  EXPECT_TRUE(run.remove);
  EXPECT_EQ(run.sandbox.template_id, "py");
  EXPECT_TRUE(run.process.interactive);
  EXPECT_TRUE(run.process.tty);
  EXPECT_THAT(run.process.env, ElementsAre(Pair("K", "V"), Pair("EMPTY", ""), Pair("A", "b=c")));
  EXPECT_EQ(run.process.workdir, "/tmp");
  EXPECT_EQ(run.process.user, "root");
  EXPECT_EQ(run.sandbox.memory_mib, 512U);
  EXPECT_EQ(run.sandbox.cpus, 2U);
  EXPECT_EQ(run.sandbox.timeout, std::chrono::minutes(90));
  EXPECT_EQ(run.sandbox.name, "n");
  EXPECT_THAT(run.process.command, ElementsAre("cmd", "--rm", "-e", "--", "x"));
}

TEST(ArgumentsTest, RunTakesACommandWithoutDashes) {
  const auto run = Parse<RunOptions>({"run", "-it", "ls", "-l", "--json", "info"});
  EXPECT_TRUE(run.process.interactive);
  EXPECT_TRUE(run.process.tty);
  EXPECT_THAT(run.process.command, ElementsAre("ls", "-l", "--json", "info"));
}

TEST(ArgumentsTest, RunWithoutACommandIsALoginShell) {
  EXPECT_THAT(Parse<RunOptions>({"run", "-it"}).process.command, IsEmpty());
  EXPECT_EQ(Parse<RunOptions>({"run"}).sandbox.template_id, "base");
  EXPECT_EQ(Parse<RunOptions>({"run"}).sandbox.timeout, std::nullopt);
}

TEST(ArgumentsTest, ExecNamesItsSandboxFirst) {
  const auto dashed = Parse<ExecOptions>({"exec", "-i", "web", "--", "ls", "-l"});
  EXPECT_EQ(dashed.sandbox, "web");
  EXPECT_THAT(dashed.process.command, ElementsAre("ls", "-l"));
  const auto plain = Parse<ExecOptions>({"exec", "-u", "root", "web", "ls", "-l", "-u"});
  EXPECT_EQ(plain.sandbox, "web");
  EXPECT_EQ(plain.process.user, "root");
  EXPECT_THAT(plain.process.command, ElementsAre("ls", "-l", "-u"));
  // Words that are commands of ours are no such thing here.
  EXPECT_THAT(Parse<ExecOptions>({"exec", "web", "ls"}).process.command, ElementsAre("ls"));
  EXPECT_THAT(Parse<ExecOptions>({"exec", "web", "env", "ps"}).process.command,
              ElementsAre("env", "ps"));
  EXPECT_THAT(Refusal({"exec"}), HasSubstr("SANDBOX"));
}

TEST(ArgumentsTest, GlobalOptionsStandBeforeOrAfterTheCommand) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--host", "h:1", "--json", "ls"},
        std::vector<std::string>{"ls", "--json", "--host=h:1"}}) {
    const auto parsed = ParseArguments(words);
    ASSERT_TRUE(std::holds_alternative<Invocation>(parsed));
    EXPECT_EQ(std::get<Invocation>(parsed).global.host, "h:1");
    EXPECT_TRUE(std::get<Invocation>(parsed).global.json);
  }
}

TEST(ArgumentsTest, OtherCommands) {
  EXPECT_THAT(Parse<InspectOptions>({"inspect", "a", "b"}).sandboxes, ElementsAre("a", "b"));
  EXPECT_TRUE(Parse<RemoveOptions>({"rm", "-a"}).all);
  EXPECT_THAT(Parse<RemoveOptions>({"rm", "-f", "a"}).sandboxes, ElementsAre("a"));
  EXPECT_EQ(Parse<TimeoutOptions>({"timeout", "a", "90"}).timeout, std::chrono::seconds(90));
  EXPECT_EQ(Parse<CopyOptions>({"cp", "-", "a:/x"}).from, "-");
  EXPECT_TRUE(Parse<LogsOptions>({"logs", "-f", "a"}).follow);
  EXPECT_TRUE(Parse<ListOptions>({"list", "-q"}).quiet);
  EXPECT_EQ(Parse<ProcessListOptions>({"ps", "a"}).sandbox, "a");
  EXPECT_THAT(Parse<CreateOptions>({"create", "-m", "k=v"}).sandbox.metadata,
              ElementsAre(Pair("k", "v")));
  const auto paused = Parse<PauseOptions>({"pause", "--disk-only", "a", "b"});
  EXPECT_THAT(paused.sandboxes, ElementsAre("a", "b"));
  EXPECT_TRUE(paused.disk_only);
  const auto resumed = Parse<ResumeOptions>({"resume", "--on-timeout", "pause", "--reboot", "a"});
  EXPECT_EQ(resumed.on_timeout, "pause");
  EXPECT_TRUE(resumed.reboot);
  EXPECT_EQ(Parse<ForkOptions>({"fork", "-n", "10", "a"}).count, 10U);
  EXPECT_EQ(Parse<SnapshotCreateOptions>({"snapshot", "create", "--name", "n:v", "a"}).name, "n:v");
  const auto started = Parse<SnapshotCreateOptions>(
      {"snapshot", "create", "--start", "serve", "--ready", "true", "--ready-timeout", "2m", "a"});
  EXPECT_EQ(started.start, "serve");
  EXPECT_EQ(started.ready, "true");
  EXPECT_EQ(started.ready_time, std::chrono::seconds(120));
  EXPECT_TRUE(Parse<SnapshotListOptions>({"snapshot", "ls", "-q"}).quiet);
  EXPECT_EQ(Parse<RollbackOptions>({"rollback", "a", "s"}).snapshot, "s");
  EXPECT_THAT(Parse<TemplateRemoveOptions>({"template", "rm", "a", "b"}).templates,
              ElementsAre("a", "b"));
  EXPECT_TRUE(Parse<TemplatesOptions>({"templates", "-q"}).quiet);
  EXPECT_FALSE(Parse<TemplatesOptions>({"template", "ls"}).quiet);
  EXPECT_THAT(Parse<VerifyOptions>({"snapshot", "verify", "a"}).templates, ElementsAre("a"));
  const auto made = Parse<CreateOptions>(
      {"create", "--cold", "--timings", "--on-timeout", "pause", "--auto-resume"});
  EXPECT_TRUE(made.sandbox.cold && made.sandbox.timings && made.sandbox.auto_resume);
  EXPECT_EQ(made.sandbox.on_timeout, "pause");
  Parse<VersionOptions>({"--version"});
  Parse<DoctorOptions>({"doctor"});
  EXPECT_EQ(Parse<BenchOptions>({"bench", "-n", "3"}).count, 3u);
  EXPECT_EQ(Parse<CompletionOptions>({"completion", "zsh"}).shell, "zsh");
}

TEST(ArgumentsTest, RefusesWhatMakesNoSense) {
  EXPECT_THAT(Refusal({"frobnicate"}), HasSubstr("frobnicate"));
  EXPECT_THAT(Refusal({"run", "-e", "novalue", "--", "x"}), HasSubstr("KEY=VALUE"));
  EXPECT_THAT(Refusal({"run", "--timeout", "soon", "--", "x"}), HasSubstr("duration"));
  EXPECT_THAT(Refusal({"run", "--memory", "0", "--", "x"}), HasSubstr("memory"));
  EXPECT_THAT(Refusal({"run", "--memory", "-1", "--", "x"}), HasSubstr("memory"));
  EXPECT_THAT(Refusal({"run", "--no-such-option", "--", "x"}), HasSubstr("--no-such-option"));
  EXPECT_THAT(Refusal({"rm"}), HasSubstr("--all"));
  EXPECT_THAT(Refusal({"rm", "-a", "x"}), HasSubstr("--all"));
  EXPECT_THAT(Refusal({"ls", "--", "x"}), HasSubstr("--"));
  EXPECT_THAT(Refusal({"completion", "tcsh"}), HasSubstr("tcsh"));
  EXPECT_THAT(Refusal({"rm"}), HasSubstr("tinderbox rm --help"));
  EXPECT_THAT(Refusal({"snapshot"}), HasSubstr("tinderbox snapshot --help"));
  EXPECT_THAT(Refusal({"snapshot", "create"}), HasSubstr("tinderbox snapshot create --help"));
  EXPECT_THAT(Refusal({"snapshot", "fry", "x"}), HasSubstr("fry"));
  EXPECT_THAT(Refusal({"create", "--on-timeout", "shrug"}), HasSubstr("shrug"));
  EXPECT_THAT(Refusal({"fork", "-n", "0", "x"}), HasSubstr("0"));
}

TEST(ArgumentsTest, EveryCommandHasHelp) {
  for (const char* name :
       {"run",     "exec",  "create",  "ls",         "ps",        "inspect",  "rm",
        "timeout", "pause", "resume",  "fork",       "rollback",  "snapshot", "template",
        "volume",  "prune", "cp",      "logs",       "templates", "info",     "doctor",
        "bench",   "env",   "version", "completion", "events",    "recover",  "key"}) {
    const auto parsed = ParseArguments({name, "--help"});
    const auto* stop = std::get_if<ParseStop>(&parsed);
    ASSERT_NE(stop, nullptr) << name;
    EXPECT_EQ(stop->exit_code, 0) << name;
    EXPECT_THAT(stop->text, HasSubstr("--json")) << name;
  }
  const auto parsed = ParseArguments({});
  EXPECT_EQ(std::get<ParseStop>(parsed).exit_code, 0);
  EXPECT_THAT(std::get<ParseStop>(parsed).text, HasSubstr("tinderbox run --rm"));
}

}  // namespace
}  // namespace tinderbox::cli
