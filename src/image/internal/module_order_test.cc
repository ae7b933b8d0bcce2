// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/module_order.h"

#include <gtest/gtest.h>

#include "image/internal/test_files.h"

namespace tinderbox::image {
namespace {

using base::Code;
using testing::MakeModule;
using Names = std::vector<std::string>;

TEST(ModuleOrderTest, NamesModulesAsTheyNameEachOther) {
  EXPECT_EQ(ModuleName("kernel/drivers/char/hw_random/virtio-rng.ko"), "virtio_rng");
  EXPECT_EQ(ModuleName("kernel/fs/ext4/ext4.ko.xz"), "ext4");
  EXPECT_EQ(ModuleName("virtio"), "virtio");
}

TEST(ModuleOrderTest, ReadsDependencies) {
  EXPECT_EQ(ModuleDependencies(MakeModule("virtio,virtio_ring")).value(),
            (Names{"virtio", "virtio_ring"}));
  EXPECT_EQ(ModuleDependencies(MakeModule("")).value(), Names{});
}

TEST(ModuleOrderTest, PutsEveryModuleAfterWhatItNeeds) {
  const std::map<std::string, std::string> modules = {
      {"virtio", MakeModule("")},
      {"virtio_ring", MakeModule("virtio")},
      {"virtio_net", MakeModule("virtio_ring,net-failover,crc32c")},
      {"net_failover", MakeModule("failover")},
      {"failover", MakeModule("")},
      {"sound", MakeModule("")},
  };
  const auto order = OrderModules({"virtio_net", "virtio", "ext4"}, modules,
                                  ParseBuiltin("kernel/fs/ext4/ext4.ko\nkernel/lib/crc32c.ko\n"));
  ASSERT_TRUE(order) << order.error().ToString();
  EXPECT_EQ(*order, (Names{"virtio", "virtio_ring", "failover", "net_failover", "virtio_net"}));
}

TEST(ModuleOrderTest, NamesWhatIsMissingAndWhoNeedsIt) {
  const auto order = OrderModules({"a"}, {{"a", MakeModule("b")}}, {});
  ASSERT_FALSE(order);
  EXPECT_EQ(order.error().code(), Code::kNotFound);
  EXPECT_NE(order.error().message().find("'b', needed by 'a'"), std::string::npos);
}

TEST(ModuleOrderTest, FindsCircles) {
  const auto order = OrderModules({"a"}, {{"a", MakeModule("b")}, {"b", MakeModule("a")}}, {});
  ASSERT_FALSE(order);
  EXPECT_EQ(order.error().code(), Code::kDataLoss);
}

TEST(ModuleOrderTest, SurvivesDamagedModules) {
  const auto module = MakeModule("virtio");
  for (std::size_t size = 0; size < module.size(); ++size) {
    EXPECT_FALSE(ModuleDependencies(module.substr(0, size))) << size;
  }
  for (std::size_t at = 0; at < module.size(); ++at) {
    for (const unsigned flip : {0xffu, 0x80u, 0x01u}) {
      auto damaged = module;
      damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ flip);
      static_cast<void>(ModuleDependencies(damaged));
    }
  }
}

}  // namespace
}  // namespace tinderbox::image
