// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>

#include "agent/boot.h"
#include "agent/file_service.h"
#include "agent/gzip.h"
#include "agent/init.h"
#include "agent/metrics.h"
#include "agent/multipart.h"
#include "agent/paths.h"
#include "agent/process_request.h"
#include "agent/signature.h"
#include "agent/users.h"
#include "base/sha256.h"

namespace tinderbox::agent {
namespace {

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/bash\n"
    "broken line\n"
    "user:x:1000:1001:A user,,,:/home/user:/bin/bash\n"
    "nohome:x:1002:1002:::\n"
    "bad:x:12x:1:::\n";
constexpr std::string_view kGroup =
    "root:x:0:\nsudo:x:27:other,user\nuser:x:1001:user\ndocker:x:999:user2,userx\n";

TEST(Users, AreParsed) {
  const auto user = ParseUser(kPasswd, kGroup, "user");
  ASSERT_TRUE(user.has_value());
  EXPECT_EQ(user->uid, 1000U);
  EXPECT_EQ(user->gid, 1001U);
  EXPECT_EQ(user->home, "/home/user");
  EXPECT_EQ(user->groups, (std::vector<gid_t>{1001, 27}));
  EXPECT_EQ(ParseUser(kPasswd, kGroup, "nohome")->home, "/");
  EXPECT_EQ(ParseUser(kPasswd, kGroup, "nohome")->shell, "/bin/sh");
  for (const char* name : {"", "nobody", "bad", "broken line", "use", "x"}) {
    EXPECT_FALSE(ParseUser(kPasswd, kGroup, name).has_value()) << name;
  }
}

TEST(Users, NumbersHaveNames) {
  const NameTable names{std::string(kPasswd), std::string(kGroup)};
  EXPECT_EQ(names.UserName(1000), "user");
  EXPECT_EQ(names.UserName(4242), "4242");
  EXPECT_EQ(names.GroupName(27), "sudo");
  EXPECT_EQ(names.GroupName(28), "28");
}

TEST(Paths, FollowTheContract) {
  const User user{.name = "user", .home = "/home/user"};
  const auto resolve = [&](std::string_view path, std::string_view workdir = "") {
    return ResolvePath(path, user, workdir).value_or("error");
  };
  EXPECT_EQ(resolve("/etc/../tmp//x/."), "/tmp/x");
  EXPECT_EQ(resolve("~"), "/home/user");
  EXPECT_EQ(resolve("~/a"), "/home/user/a");
  EXPECT_EQ(resolve("a/b"), "/home/user/a/b");
  EXPECT_EQ(resolve("a", "/work"), "/home/user/a") << "relative means the home";
  EXPECT_EQ(resolve(""), "/home/user");
  EXPECT_EQ(resolve("", "/work"), "/work");
  EXPECT_EQ(resolve("../../../.."), "/");
  EXPECT_EQ(resolve("~root/x"), "error");
  EXPECT_EQ(resolve(std::string_view("/a\0b", 4)), "error");
  EXPECT_EQ(BaseName("/a/b"), "b");
  EXPECT_EQ(BaseName("/"), "/");
  EXPECT_EQ(ParentOf("/a"), "/");
  EXPECT_EQ(ParentOf("/a/b/c"), "/a/b");
}

std::string Hex(const std::array<std::uint8_t, 32>& digest) {
  std::string text;
  for (const auto byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(Hex(base::Sha256("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex(base::Sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(base::Sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(base::Sha256(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Signature, IsMadeAndChecked) {
  FileAccess access;
  access.token = "secret";
  access.operation = "read";
  access.path = "/a b";
  access.username = "user";
  // printf '/a b:read:user:secret' | sha256sum | xxd -r -p | base64
  EXPECT_EQ(FileSignature(access).size(), 3U + 43U) << "unpadded";
  EXPECT_EQ(CheckFileAccess(access, 0).error().message(), "missing signature query parameter");
  const std::string good = FileSignature(access);
  access.signature = good;
  EXPECT_TRUE(CheckFileAccess(access, 0).has_value());
  access.operation = "write";
  EXPECT_EQ(CheckFileAccess(access, 0).error().message(), "invalid signature");
  access.operation = "read";
  access.expiration = "100";
  EXPECT_EQ(CheckFileAccess(access, 0).error().message(), "invalid signature");
  const std::string timed = FileSignature(access);
  EXPECT_NE(timed, good);
  access.signature = timed;
  EXPECT_TRUE(CheckFileAccess(access, 100).has_value());
  EXPECT_EQ(CheckFileAccess(access, 101).error().message(), "signature is already expired");
  access.signature = "v1_x";
  EXPECT_EQ(CheckFileAccess(access, 101).error().message(), "invalid signature")
      << "expiry is last";
  access.header = "wrong";
  EXPECT_EQ(CheckFileAccess(access, 0).error().message(),
            "access token present in header but does not match");
  access.header = "secret";
  EXPECT_TRUE(CheckFileAccess(access, 0).has_value());
}

TEST(Multipart, BoundaryOfTheContentType) {
  EXPECT_EQ(MultipartBoundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(MultipartBoundary("Multipart/Form-Data; x=y; boundary=\"a b\""), "a b");
  EXPECT_FALSE(MultipartBoundary("multipart/mixed; boundary=abc").has_value());
  EXPECT_FALSE(MultipartBoundary("multipart/form-data").has_value());
  EXPECT_FALSE(
      MultipartBoundary("multipart/form-data; boundary=" + std::string(80, 'x')).has_value());
}

struct Collected {
  std::string log;
  MultipartReader::Events Events() {
    return {.begin =
                [this](std::string_view name, std::string_view file) {
                  log += fmt::format("[{}|{}]", name, file);
                  return base::Result<>{};
                },
            .data =
                [this](std::string_view data) {
                  log += data;
                  return base::Result<>{};
                },
            .end =
                [this] {
                  log += "$";
                  return base::Result<>{};
                }};
  }
};

TEST(Multipart, AnySplitGivesTheSameParts) {
  const std::string body =
      "preamble\r\n--B\r\nContent-Disposition: form-data; name=\"file\"; "
      "filename=\"/a/%22b\\\".txt\""
      "\r\nContent-Type: x\r\n\r\none\r\n--Bogus\r\n-two\r\n--B\r\ncontent-disposition: form-data; "
      "name=\"file\"; filename=é\r\n\r\n\r\n--B--\r\nepilogue";
  for (std::size_t step = 1; step <= body.size(); ++step) {
    Collected parts;
    MultipartReader reader("B", parts.Events());
    for (std::size_t at = 0; at < body.size(); at += step) {
      ASSERT_TRUE(reader.Feed(std::string_view(body).substr(at, step)).has_value()) << step;
    }
    EXPECT_TRUE(reader.finished());
    EXPECT_EQ(parts.log, "[file|/a/\"b\".txt]one\r\n--Bogus\r\n-two$[file|é]$") << step;
    if (HasFailure()) return;
  }
}

TEST(Multipart, LookalikeBoundaryIsData) {
  Collected parts;
  MultipartReader reader("BB", parts.Events());
  ASSERT_TRUE(
      reader
          .Feed("--BB\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"
                "a\r\n--B\r\n-\r\r\n--BB--")
          .has_value());
  EXPECT_EQ(parts.log, "[file|x]a\r\n--B\r\n-\r$");
}

TEST(Multipart, GarbageIsRefusedWithinBounds) {
  Collected parts;
  EXPECT_FALSE(MultipartReader("B", parts.Events()).Feed(std::string(64 << 10, 'x')).has_value());
  EXPECT_FALSE(MultipartReader("B", parts.Events())
                   .Feed("--B\r\n" + std::string(64 << 10, 'x'))
                   .has_value());
}

TEST(Gzip, RoundTripInPieces) {
  std::string text;
  for (int i = 0; i < 50000; ++i) text += fmt::format("line {}\n", i * 7919 % 1000);
  GzipWriter writer;
  std::string packed;
  for (std::size_t at = 0; at < text.size(); at += 1000) {
    writer.Write(std::string_view(text).substr(at, 1000), false, packed);
  }
  writer.Write({}, true, packed);
  EXPECT_LT(packed.size(), text.size());
  GzipReader reader;
  std::string unpacked;
  const auto sink = [&](std::string_view data) {
    EXPECT_LE(data.size(), 64U << 10);
    unpacked += data;
    return base::Result<>{};
  };
  for (std::size_t at = 0; at < packed.size(); at += 777) {
    ASSERT_TRUE(reader.Feed(std::string_view(packed).substr(at, 777), sink).has_value());
  }
  EXPECT_TRUE(reader.finished());
  EXPECT_EQ(unpacked, text);
  EXPECT_FALSE(GzipReader().Feed("not gzip at all", sink).has_value());
}

std::string Noise(std::size_t size) {
  std::mt19937 random(1);
  std::string noise(size, '\0');
  for (char& byte : noise) byte = static_cast<char>(random());
  return noise;
}

TEST(Gzip, PaysForTextNotForNoise) {
  EXPECT_TRUE(WorthCompressing(std::string(1000, 'x')));
  EXPECT_FALSE(WorthCompressing(Noise(32 << 10)));
  EXPECT_FALSE(WorthCompressing(""));
}

TEST(Gzip, DataThatDoesNotGetSmallerIsStored) {
  const std::string noise = Noise(1 << 20);
  const std::string text(16 << 20, 'x');
  const std::string all = noise + text;
  GzipWriter writer;
  std::string packed;
  for (std::size_t at = 0; at < all.size(); at += 100'000) {
    writer.Write(std::string_view(all).substr(at, 100'000), false, packed);
  }
  writer.Write({}, true, packed);
  EXPECT_TRUE(packed.contains(std::string(10'000, 'x'))) << "stored behind the noise";
  EXPECT_LT(packed.size(), 6U << 20) << "and compressed again later";
  GzipReader reader;
  std::string unpacked;
  ASSERT_TRUE(reader
                  .Feed(packed,
                        [&](std::string_view data) {
                          unpacked += data;
                          return base::Result<>{};
                        })
                  .has_value());
  EXPECT_TRUE(reader.finished());
  EXPECT_TRUE(unpacked == all);
}

TEST(Gzip, ClientsMayRefuseIdentity) {
  EXPECT_TRUE(AcceptsIdentity(std::nullopt));
  EXPECT_TRUE(AcceptsIdentity("gzip"));
  EXPECT_TRUE(AcceptsIdentity("identity, *;q=0"));
  EXPECT_FALSE(AcceptsIdentity("gzip, identity;q=0"));
  EXPECT_FALSE(AcceptsIdentity("gzip, *;q=0"));
}

TEST(Gzip, EncodingIsChosenAsTheClientLikes) {
  EXPECT_EQ(ChooseEncoding(std::nullopt), "identity");
  EXPECT_EQ(ChooseEncoding("gzip, deflate"), "gzip");
  EXPECT_EQ(ChooseEncoding("identity"), "identity");
  EXPECT_EQ(ChooseEncoding("zstd, br"), "identity");
  EXPECT_EQ(ChooseEncoding("gzip;q=0.5, identity"), "identity");
  EXPECT_EQ(ChooseEncoding("gzip;q=0"), "identity");
  EXPECT_EQ(ChooseEncoding("*"), "gzip");
  EXPECT_EQ(ChooseEncoding("identity;q=0, br"), std::nullopt);
  EXPECT_EQ(ChooseEncoding("br, *;q=0"), std::nullopt);
}

TEST(Files, Ranges) {
  const auto range = [](std::string_view header, std::uint64_t size) {
    const auto r = ParseRange(header, size);
    return r ? fmt::format("{}-{}", r->first, r->last) : "none";
  };
  EXPECT_EQ(range("bytes=0-4", 10), "0-4");
  EXPECT_EQ(range("bytes=5-", 10), "5-9");
  EXPECT_EQ(range("bytes=5-100", 10), "5-9");
  EXPECT_EQ(range("bytes=-3", 10), "7-9");
  EXPECT_EQ(range("bytes=-30", 10), "0-9");
  EXPECT_EQ(range("bytes=10-", 10), "1-0") << "outside";
  EXPECT_EQ(range("bytes=0-1,3-4", 10), "none");
  EXPECT_EQ(range("bytes=4-1", 10), "none");
  EXPECT_EQ(range("lines=0-1", 10), "none");
  EXPECT_EQ(range("bytes=-", 10), "none");
}

TEST(Files, ContentDispositionQuotesWhatNeedsIt) {
  EXPECT_EQ(ContentDisposition("a.txt"), "inline; filename=a.txt");
  EXPECT_EQ(ContentDisposition("a b.txt"), "inline; filename=\"a b.txt\"");
  EXPECT_EQ(ContentDisposition("a\"b"), "inline; filename=\"a\\\"b\"");
  EXPECT_EQ(ContentDisposition("é"), "inline; filename*=utf-8''%C3%A9");
  EXPECT_EQ(ContentDisposition("a\nb"), "inline; filename*=utf-8''a%0Ab");
}

TEST(Files, MetadataHasLimits) {
  const auto good = ParseMetadata({{"X-Metadata-FooBar", "v 1"}, {"Other", "x"}});
  ASSERT_TRUE(good.has_value());
  EXPECT_EQ(*good, (std::map<std::string, std::string>{{"foobar", "v 1"}}));
  EXPECT_EQ(ParseMetadata({{"X-Metadata-a", "\x01"}}).error().status, 400U);
  EXPECT_EQ(ParseMetadata({{"X-Metadata-" + std::string(247, 'k'), "v"}}).error().status, 400U);
  EXPECT_EQ(ParseMetadata({{"X-Metadata-a", std::string(4096, 'v')}}).error().status, 400U);
}

TEST(Init, TimesAreParsed) {
  EXPECT_EQ(ParseRfc3339("1970-01-01T00:00:01Z")->tv_sec, 1);
  EXPECT_EQ(ParseRfc3339("2026-11-24T03:00:00.5+01:00")->tv_sec, 1795485600);
  EXPECT_EQ(ParseRfc3339("2026-11-24T03:00:00.5+01:00")->tv_nsec, 500'000'000);
  EXPECT_EQ(ParseRfc3339("2026-11-24T03:00:00.123456789Z")->tv_nsec, 123'456'789);
  for (const char* bad : {"", "2026-11-24", "2026-13-24T03:00:00Z", "2026-11-24T03:00:00", "x"}) {
    EXPECT_FALSE(ParseRfc3339(bad).has_value()) << bad;
  }
}

TEST(Init, ClockIsSetOnlyWhenItIsOff) {
  const timespec host{1000, 0};
  EXPECT_FALSE(ClockNeedsSetting({1000, 0}, host));
  EXPECT_FALSE(ClockNeedsSetting({999, 960'000'000}, host));
  EXPECT_TRUE(ClockNeedsSetting({999, 900'000'000}, host));
  EXPECT_FALSE(ClockNeedsSetting({1004, 0}, host));
  EXPECT_TRUE(ClockNeedsSetting({1006, 0}, host));
}

TEST(Init, BodyIsChecked) {
  const auto request = ParseInit(R"({"envVars":{"A":"b"},"accessToken":"t","hostname":"h",
      "machineId":"0123456789abcdef0123456789abcdef","timestamp":"2026-11-24T03:00:00Z","x":1})");
  ASSERT_TRUE(request.has_value()) << request.error().ToString();
  EXPECT_EQ(request->env->at("A"), "b");
  EXPECT_EQ(request->env->at("E2B_SANDBOX"), "true");
  EXPECT_EQ(request->access_token, "t");
  EXPECT_TRUE(ParseInit("")->env == std::nullopt);
  for (const char* bad : {"[]", "{", R"({"envVars":{"A":1}})", R"({"timestamp":"soon"})",
                          R"({"hostname":"a b"})", R"({"machineId":"xyz"})"}) {
    EXPECT_FALSE(ParseInit(bad).has_value()) << bad;
  }
}

TEST(Boot, CommandLine) {
  const BootOptions options =
      ParseCommandLine("quiet tinderbox.dns=192.0.2.53,192.0.2.54 tinderbox.root_ro x=y\n");
  EXPECT_EQ(options.dns, (std::vector<std::string>{"192.0.2.53", "192.0.2.54"}));
  EXPECT_TRUE(options.root_read_only);
  EXPECT_FALSE(ParseCommandLine("tinderbox.root_ro_not").root_read_only);
}

TEST(MetricsTest, ProcFilesAreParsed) {
  const CpuTimes times = ParseCpuTimes("cpu  10 1 5 80 4 0 0 0 7 0\ncpu0 1\n");
  EXPECT_EQ(times.busy, 16U);
  EXPECT_EQ(times.total, 100U);
  const Memory memory = ParseMemory(
      "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 600 kB\nBuffers: 10 kB\nCached: 90 kB\n"
      "SwapCached: 5 kB\n");
  EXPECT_EQ(memory.total, 1000U * 1024);
  EXPECT_EQ(memory.used, 400U * 1024);
  EXPECT_EQ(memory.cache, 100U * 1024);
}

TEST(ProcessRequest, MeansWhatTheContractSays) {
  const auto message = Message::Parse(
      R"({"process":{"cmd":"/bin/bash","args":["-l"],"envs":{"A":"2"},"cwd":"/tmp"},
          "pty":{"size":{"cols":100,"rows":30}},"tag":null,"unknown":[1]})");
  ASSERT_TRUE(message.has_value());
  const auto request = ParseStart(*message);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->terminal->cols, 100);
  EXPECT_TRUE(request->stdin_pipe);
  EXPECT_FALSE(request->tag.has_value());
  AgentState state;
  state.env = {{"A", "1"}, {"B", "1"}, {"USER", "other"}};
  const User user{.name = "user", .home = "/tmp"};
  const auto spec = PlanSpawn(*request, user, state);
  ASSERT_TRUE(spec.has_value());
  EXPECT_NE(std::ranges::find(spec->env, "A=2"), spec->env.end());
  EXPECT_NE(std::ranges::find(spec->env, "B=1"), spec->env.end());
  EXPECT_NE(std::ranges::find(spec->env, "HOME=/tmp"), spec->env.end());
  EXPECT_NE(std::ranges::find(spec->env, "USER=other"), spec->env.end());
}

TEST(ProcessRequest, BadOnesAreRefused) {
  for (const char* bad :
       {"{}", R"({"process":{}})", R"({"process":{"cmd":"a\u0000b"}})", R"({"process":{"cmd":1}})",
        R"({"process":{"cmd":"x","envs":{"A=B":"c"}}})", R"({"process":{"cmd":"x","args":"y"}})"}) {
    const auto message = Message::Parse(bad);
    ASSERT_TRUE(message.has_value()) << bad;
    const auto request = ParseStart(*message);
    ASSERT_FALSE(request.has_value()) << bad;
    EXPECT_EQ(request.error().code, net::ConnectCode::kInvalidArgument);
  }
  EXPECT_FALSE(Message::Parse("[1]").has_value());
  EXPECT_FALSE(Message::Parse(std::string(100, '[')).has_value()) << "depth is bounded";
  StartRequest request{.config = {.cmd = "x", .cwd = "/does/not/exist"}};
  EXPECT_EQ(PlanSpawn(request, User{.home = "/"}, AgentState{}).error().message,
            "cwd '/does/not/exist' does not exist");
}

}  // namespace
}  // namespace tinderbox::agent
