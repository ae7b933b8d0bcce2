// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Volumes, over HTTP.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "api/api_test_fixture.h"

namespace tinderbox::api {
namespace {

class VolumeTest : public ApiTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root may give files to others";
    ApiTest::SetUp();
    const auto made = Call("POST", "/volumes", R"({"name":"data"})");
    ASSERT_EQ(made.status, 201) << made.body;
    id_ = Json(made).at("volumeID").as_string();
    token_ = Json(made).at("token").as_string();
  }
  // As the SDKs ask: the token, and no API key.
  net::HttpResponse Content(const std::string& method, const std::string& what,
                            const std::string& body = {}) {
    return CallWithoutKey(method, "/volumecontent/" + id_ + "/" + what,
                          {{"Authorization", "Bearer " + token_}}, body);
  }
  std::string Inside(const std::string& name) { return volumes_->DirectoryOf(id_) + "/" + name; }

  std::string id_;
  std::string token_;
};

TEST_F(VolumeTest, Control) {
  EXPECT_EQ(Json(Call("GET", "/volumes")).as_array().size(), 1u);
  EXPECT_FALSE(Json(Call("GET", "/volumes")).at(0).as_object().contains("token"));
  const auto one = Call("GET", "/volumes/" + id_);
  EXPECT_EQ(one.status, 200);
  EXPECT_EQ(Json(one).at("name").as_string(), "data");
  EXPECT_EQ(Json(one).at("token").as_string(), token_);
  ExpectError(Call("POST", "/volumes", R"({"name":"data"})"), 409, "exists");
  ExpectError(Call("POST", "/volumes", R"({"name":"a/b"})"), 400, "name");
  ExpectError(Call("POST", "/volumes", R"({})"), 400, "name");
  ExpectError(Call("POST", "/volumes", R"({"name":"x","size":1})"), 400, "size");
  ExpectError(Call("GET", "/volumes/nope"), 404, "nope");
  ExpectError(Call("DELETE", "/volumes/nope"), 404, "nope");
  ExpectError(CallWithoutKey("GET", "/volumes"), 401);
  pool_full_ = true;
  ExpectError(Call("POST", "/volumes", R"({"name":"more"})"), 507, "full");
  EXPECT_EQ(Call("DELETE", "/volumes/" + id_).status, 204);
  ExpectError(Call("DELETE", "/volumes/" + id_), 404);
  ExpectError(Content("GET", "dir?path=/"), 401);
}

TEST_F(VolumeTest, IsNotRemovedWhileASandboxMountsIt) {
  sandbox::SandboxInfo info = Running("i1");
  info.state = sandbox::State::kPaused;
  info.volume_mounts = {{"/mnt", "data"}};
  manager_.Put(info);
  ExpectError(Call("DELETE", "/volumes/" + id_), 409, "i1");
  EXPECT_EQ(Call("GET", "/volumes/" + id_).status, 200);
  info.state = sandbox::State::kDead;
  manager_.Put(info);
  EXPECT_EQ(Call("DELETE", "/volumes/" + id_).status, 204);
}

TEST_F(VolumeTest, TheTokenOpensItsVolumeAlone) {
  const auto other = Json(Call("POST", "/volumes", R"({"name":"other"})"));
  const std::string target = "/volumecontent/" + id_ + "/dir?path=/";
  EXPECT_EQ(Content("GET", "dir?path=/").status, 200);
  ExpectError(CallWithoutKey("GET", target), 401);
  ExpectError(Call("GET", target), 401);
  ExpectError(CallAsRoot("GET", target), 401);
  const std::string wrong = "Bearer " + std::string(other.at("token").as_string());
  ExpectError(CallWithoutKey("GET", target, {{"Authorization", wrong}}), 401);
  ExpectError(CallWithoutKey("GET", target, {{"Authorization", "Bearer "}}), 401);
  ExpectError(CallWithoutKey("GET", "/volumecontent/nope/dir?path=/", {{"Authorization", wrong}}),
              401);
}

TEST_F(VolumeTest, EntriesHaveWhatTheClientsNeed) {
  ASSERT_EQ(Content("POST", "dir?path=/d&mode=493&uid=1&gid=2").status, 201);
  const auto put = Content("PUT", "file?path=/d/f&uid=3&gid=4&mode=416", "hello");
  ASSERT_EQ(put.status, 201) << put.body;
  const boost::json::object entry = Json(put).as_object();
  EXPECT_EQ(entry.at("name").as_string(), "f");
  EXPECT_EQ(entry.at("path").as_string(), "/d/f");
  EXPECT_EQ(entry.at("type").as_string(), "file");
  EXPECT_EQ(entry.at("size").to_number<int>(), 5);
  EXPECT_EQ(entry.at("mode").to_number<int>(), 0640);
  EXPECT_EQ(entry.at("uid").to_number<int>(), 3);
  EXPECT_EQ(entry.at("gid").to_number<int>(), 4);
  for (const char* time : {"atime", "mtime", "ctime"}) {
    EXPECT_TRUE(entry.at(time).as_string().ends_with("Z")) << time;
  }
  EXPECT_FALSE(entry.contains("target"));
  ASSERT_EQ(::symlink("d/f", Inside("link").c_str()), 0);
  const auto link = Json(Content("GET", "path?path=/link")).as_object();
  EXPECT_EQ(link.at("type").as_string(), "symlink");
  EXPECT_EQ(link.at("target").as_string(), "d/f");
  EXPECT_EQ(Json(Content("GET", "dir?path=/")).as_array().size(), 2u);
  EXPECT_EQ(Json(Content("GET", "dir?path=/&depth=2")).as_array().size(), 3u);
  const auto changed = Json(Content("PATCH", "path?path=/d/f", R"({"mode":384,"uid":9})"));
  EXPECT_EQ(changed.at("mode").to_number<int>(), 0600);
  EXPECT_EQ(changed.at("uid").to_number<int>(), 9);
  EXPECT_EQ(changed.at("gid").to_number<int>(), 4);
  // A name that is no UTF-8 must not spoil the listing, nor a time that no calendar has.
  std::ofstream(Inside("\xff\xfe")) << "x";
  const timespec far[2] = {{1LL << 40, 0}, {-5, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, Inside("d").c_str(), far, 0), 0);
  EXPECT_EQ(Json(Content("GET", "dir?path=/")).as_array().size(), 3u);
}

TEST_F(VolumeTest, WhatIsNotThereIs404) {
  for (const char* what : {"dir?path=/no", "path?path=/no", "file?path=/no", "dir?path=/no/no"}) {
    ExpectError(Content("GET", what), 404);
  }
  ExpectError(Content("DELETE", "path?path=/no"), 404);
  ExpectError(Content("PATCH", "path?path=/no", "{}"), 404);
  ExpectError(Content("PUT", "file?path=/no/f", "x"), 404);
  ExpectError(Content("POST", "dir?path=/no/d"), 404);
  EXPECT_EQ(Content("PUT", "file?path=/no/f&force=true", "x").status, 201);
  EXPECT_EQ(Content("DELETE", "path?path=/no").status, 204);
}

TEST_F(VolumeTest, RefusesWhatMakesNoSense) {
  ASSERT_EQ(Content("POST", "dir?path=/d").status, 201);
  ExpectError(Content("POST", "dir?path=/d"), 409);
  EXPECT_EQ(Content("POST", "dir?path=/d&force=true").status, 201);
  ExpectError(Content("PUT", "file?path=/d", "x"), 400, "directory");
  ExpectError(Content("GET", "file?path=/d"), 400, "regular");
  for (const char* what : {"dir", "dir?path=/../x", "dir?path=a%00b", "dir?path=/&depth=0",
                           "dir?path=/&depth=x", "dir?path=/&depth=101"}) {
    ExpectError(Content("GET", what), 400);
  }
  for (const char* what : {"mode=4096", "mode=0x1", "uid=-1", "uid=4294967295", "force=1"}) {
    ExpectError(Content("PUT", std::string("file?path=/f&") + what, "x"), 400);
  }
  ExpectError(Content("PATCH", "path?path=/d", R"({"mode":"0755"})"), 400, "mode");
  ExpectError(Content("PATCH", "path?path=/d", R"({"size":1})"), 400, "size");
  ExpectError(Content("DELETE", "path?path=/"), 400, "root");
  ExpectError(Content("GET", "nonsense?path=/"), 400);
  ExpectError(Content("POST", "file?path=/f", "x"), 400);
  ASSERT_EQ(::mkfifo(Inside("fifo").c_str(), 0666), 0);
  ExpectError(Content("GET", "file?path=/fifo"), 400, "regular");
  ASSERT_EQ(::symlink("/etc/passwd", Inside("passwd").c_str()), 0);
  ExpectError(Content("GET", "file?path=/passwd"), 404);
}

// Larger than what a control request may carry, and of no announced length.
TEST_F(VolumeTest, LargeFilesStreamBothWays) {
  std::string data(9 << 20, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 >> 3);
  net::HttpClient client = Client();
  const auto deadline = base::Deadline::After(std::chrono::seconds(30));
  const net::HttpRequest put{.method = "PUT",
                             .target = "/volumecontent/" + id_ + "/file?path=/large",
                             .headers = {{"Authorization", "Bearer " + token_},
                                         {"Content-Type", "application/octet-stream"}},
                             .body = {}};
  ASSERT_TRUE(client.Start(put, net::StreamedBody{}, deadline));
  for (std::size_t at = 0; at < data.size(); at += 100'000) {
    ASSERT_TRUE(client.Write(std::string_view(data).substr(at, 100'000), deadline));
    // Nobody sees it before it is whole.
    if (at == 5'000'000) ExpectError(Content("GET", "path?path=/large"), 404);
  }
  ASSERT_TRUE(client.FinishBody(deadline));
  EXPECT_EQ(client.ReadHead(deadline)->status, 201);
  const auto got = Content("GET", "file?path=/large");
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(Header(got, "Content-Type"), "application/octet-stream");
  EXPECT_TRUE(got.body == data);
  EXPECT_EQ(Content("PUT", "file?path=/empty", "").status, 201);
  EXPECT_EQ(Content("GET", "file?path=/empty").body, "");
}

TEST_F(VolumeTest, AnUploadThatBreaksOffLeavesNothing) {
  const auto deadline = base::Deadline::After(std::chrono::seconds(30));
  {
    net::HttpClient client = Client();
    ASSERT_TRUE(client.Start({.method = "PUT",
                              .target = "/volumecontent/" + id_ + "/file?path=/f",
                              .headers = {{"Authorization", "Bearer " + token_}},
                              .body = {}},
                             net::StreamedBody{.length = 1 << 20}, deadline));
    ASSERT_TRUE(client.Write(std::string(1000, 'x'), deadline));
  }
  const auto incoming = [&] { return std::filesystem::is_empty(dir_ + "/volumes/.incoming"); };
  while (!incoming() && !deadline.passed()) ::usleep(1000);
  EXPECT_TRUE(incoming());
  ExpectError(Content("GET", "path?path=/f"), 404);
}

TEST_F(VolumeTest, AFullPoolTakesNothingMore) {
  pool_full_ = true;
  ExpectError(Content("PUT", "file?path=/f", "x"), 507, "full");
  ExpectError(Content("POST", "dir?path=/d"), 507, "full");
  EXPECT_EQ(Content("GET", "dir?path=/").status, 200);
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/volumes/.incoming"));
}

}  // namespace
}  // namespace tinderbox::api
