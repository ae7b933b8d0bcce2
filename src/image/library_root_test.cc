// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "image/internal/base_rootfs.h"
#include "image/internal/ext4.h"
#include "image/internal/kernel_store.h"
#include "image/internal/template_store.h"
#include "image/internal/test_files.h"
#include "image/internal/workspace.h"
#include "image/library.h"
#include "sys/file.h"
#include "sys/loop.h"
#include "sys/mount_table.h"

namespace tinderbox::image {
namespace {

using base::Code;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kDiskBytes = 64 * kMiB;

class LibraryRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_EQ(::mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, "size=3g"), 0);
    options_.state_dir = dir_.path() + "/state";
    options_.agent = dir_.path() + "/agent";
    options_.pool_bytes = 2048 * kMiB;
    options_.pool_sparse = true;  // an allocated one would take the memory of the tmpfs
    options_.reserve_bytes = 16 * kMiB;
    ASSERT_TRUE(sys::WriteFileAtomic(options_.agent, "\177ELF agent"));
    auto library = OpenLibrary(options_, {});
    ASSERT_TRUE(library) << library.error().ToString();
    library_ = std::move(*library);
  }
  void TearDown() override {
    library_.reset();
    const auto closed = ClosePool(options_.state_dir);
    EXPECT_TRUE(closed) << closed.error().ToString();
    static_cast<void>(sys::UnmountBelow(dir_.path()));
  }

  // A template with one small file in its root file system.
  Template MakeTemplate(const std::string& name) {
    const auto tree = dir_.path() + "/tree";
    EXPECT_TRUE(sys::MakeDirs(tree + "/etc"));
    EXPECT_TRUE(sys::WriteFileAtomic(tree + "/etc/motd", "hello from " + name));
    const auto pending = library_->pool_dir() + "/tmp/" + name;
    EXPECT_TRUE(sys::MakeDirs(pending));
    const auto made = MakeExt4(tree, pending + "/disk.img", kDiskBytes);
    EXPECT_TRUE(made) << made.error().ToString();
    TemplateManifest manifest;
    manifest.info.id = TemplateStore::IdOf(name);
    manifest.info.name = name;
    manifest.info.disk_bytes = kDiskBytes;
    manifest.info.created_at = "2026-01-01T00:00:00Z";
    const auto installed = TemplateStore(library_->pool_dir()).Install(pending, manifest);
    EXPECT_TRUE(installed) << installed.error().ToString();
    return library_->FindTemplate(name).value();
  }
  void Overwrite(const std::string& path, off_t offset, const std::string& bytes) {
    const auto file = sys::Open(path, O_WRONLY).value();
    ASSERT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), offset),
              static_cast<ssize_t>(bytes.size()));
  }
  // The disk of a VM that boots.
  base::Result<std::string> Clone(const Template& source, const std::string& id, unsigned uid,
                                  unsigned gid) {
    const auto files =
        library_->MakeVmFiles(source, {.sandbox_id = id, .uid = uid, .gid = gid, .memory_mib = 16});
    if (!files) return std::unexpected(files.error());
    return files->disk;
  }
  std::string SandboxPath(const std::string& id) {
    return library_->pool_dir() + "/sandboxes/" + id;
  }

  const testing::TempDir dir_;
  LibraryOptions options_;
  std::unique_ptr<Library> library_;
};

TEST_F(LibraryRootTest, FindsTemplatesByIdNameAndDefaultTag) {
  const auto made = MakeTemplate("small");
  EXPECT_EQ(made.id.size(), 20u);
  for (const auto& name : {std::string("small"), std::string("small:default"), made.id}) {
    EXPECT_EQ(library_->FindTemplate(name).value().disk, made.disk) << name;
  }
  EXPECT_EQ(library_->Templates()->size(), 1u);
}

TEST_F(LibraryRootTest, SaysThatATemplateIsNotThere) {
  MakeTemplate("small");
  for (const char* name : {"x", "small:v2", "", "../templates", "a/b", "."}) {
    const auto found = library_->FindTemplate(name);
    ASSERT_FALSE(found) << name;
    EXPECT_EQ(found.error().code(), Code::kNotFound);
    EXPECT_EQ(found.error().message(), fmt::format("template '{}' not found", name));
    EXPECT_FALSE(found.error().remedy().empty());
  }
}

TEST_F(LibraryRootTest, ClonesADiskForASandbox) {
  const auto source = MakeTemplate("small");
  const auto disk = Clone(source, "i0123456789", 4711, 4712);
  ASSERT_TRUE(disk) << disk.error().ToString();
  EXPECT_EQ(*disk, SandboxPath("i0123456789") + "/disk.img");
  const auto st = sys::Stat(*disk).value();
  EXPECT_EQ(st.st_uid, 4711u);
  EXPECT_EQ(st.st_gid, 4712u);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  EXPECT_EQ(st.st_size, static_cast<off_t>(kDiskBytes));
  EXPECT_EQ(sys::Stat(SandboxPath("i0123456789"))->st_mode & 07777, 0700u);
  EXPECT_THAT(library_->SandboxDirs().value(), ElementsAre("i0123456789"));
}

TEST_F(LibraryRootTest, SandboxesDoNotSeeEachOthersWrites) {
  const auto source = MakeTemplate("small");
  const auto one = Clone(source, "one", 0, 0).value();
  const auto two = Clone(source, "two", 0, 0).value();
  Overwrite(one, kDiskBytes / 2, "written by one");
  EXPECT_NE(sys::ReadFile(one, kDiskBytes).value(), sys::ReadFile(two, kDiskBytes).value());
  EXPECT_EQ(sys::ReadFile(two, kDiskBytes).value(), sys::ReadFile(source.disk, kDiskBytes).value());
  EXPECT_TRUE(library_->VerifyTemplate(source.id));
}

TEST_F(LibraryRootTest, FilesOfAnEarlierRunAreReplaced) {
  const auto source = MakeTemplate("small");
  const auto disk = Clone(source, "one", 0, 0).value();
  Overwrite(disk, kDiskBytes / 2, "written before");
  ASSERT_TRUE(Clone(source, "one", 7, 7));
  EXPECT_EQ(sys::ReadFile(disk, kDiskBytes).value(),
            sys::ReadFile(source.disk, kDiskBytes).value());
  EXPECT_EQ(sys::Stat(disk)->st_uid, 7u);
}

TEST_F(LibraryRootTest, TakesOnlySafeIds) {
  const auto source = MakeTemplate("small");
  for (const char* id : {"", ".", "..", "../x", "a/b", "A", "-a", "a\nb"}) {
    EXPECT_EQ(Clone(source, id, 0, 0).error().code(), Code::kInvalidArgument) << id;
    EXPECT_EQ(library_->RemoveSandbox(id).error().code(), Code::kInvalidArgument) << id;
    EXPECT_EQ(library_->RemoveTemplate(id).error().code(), Code::kNotFound) << id;
  }
  EXPECT_TRUE(sys::Exists(source.disk));
}

TEST_F(LibraryRootTest, RemovesSandboxesWithoutFollowingLinks) {
  const auto source = MakeTemplate("small");
  ASSERT_TRUE(Clone(source, "one", 0, 0));
  ASSERT_EQ(::symlink((library_->pool_dir() + "/templates").c_str(),
                      (SandboxPath("one") + "/link").c_str()),
            0);
  ASSERT_TRUE(library_->RemoveSandbox("one"));
  EXPECT_TRUE(library_->RemoveSandbox("one"));
  EXPECT_THAT(library_->SandboxDirs().value(), IsEmpty());
  EXPECT_TRUE(sys::Exists(source.disk));
}

TEST_F(LibraryRootTest, RefusesADamagedTemplateDisk) {
  const auto refused = [&](const Template& source) {
    const auto disk = Clone(source, "one", 0, 0);
    EXPECT_FALSE(disk);
    EXPECT_EQ(disk.error().code(), Code::kDataLoss) << disk.error().ToString();
    EXPECT_THAT(disk.error().message(),
                AnyOf(HasSubstr("is damaged"), HasSubstr("cannot be read")));
    EXPECT_THAT(disk.error().remedy(), HasSubstr("tinderboxd prepare"));
    EXPECT_THAT(disk.error().message(), HasSubstr(source.disk));
    EXPECT_FALSE(sys::Exists(SandboxPath("one"))) << "something is left";
  };
  const auto superblock = MakeTemplate("superblock");
  Overwrite(superblock.disk, 1024 + 0x20, "xx");
  refused(superblock);
  const auto zeroed = MakeTemplate("zeroed");
  Overwrite(zeroed.disk, 0, std::string(4096, '\0'));
  refused(zeroed);
  const auto shorter = MakeTemplate("shorter");
  ASSERT_EQ(::truncate(shorter.disk.c_str(), kDiskBytes - 4096), 0);
  refused(shorter);
  const auto missing = MakeTemplate("missing");
  ASSERT_TRUE(sys::RemoveFile(missing.disk));
  refused(missing);
  const auto linked = MakeTemplate("linked");
  ASSERT_EQ(::rename(linked.disk.c_str(), (dir_.path() + "/elsewhere").c_str()), -1);
  ASSERT_TRUE(sys::RemoveFile(linked.disk));
  ASSERT_EQ(::symlink(MakeTemplate("target").disk.c_str(), linked.disk.c_str()), 0);
  refused(linked);
}

TEST_F(LibraryRootTest, VerifiesEveryByteOfATemplate) {
  const auto source = MakeTemplate("small");
  EXPECT_TRUE(library_->VerifyTemplate(source.id));
  Overwrite(source.disk, kDiskBytes - 5, "x");
  EXPECT_TRUE(Clone(source, "one", 0, 0)) << "the quick check looks at the superblock";
  EXPECT_EQ(library_->VerifyTemplate(source.id).error().code(), Code::kDataLoss);
}

TEST_F(LibraryRootTest, ADamagedManifestHidesNoOtherTemplate) {
  const auto good = MakeTemplate("good");
  const auto bad = MakeTemplate("bad");
  ASSERT_TRUE(sys::WriteFileAtomic(
      fmt::format("{}/templates/{}/manifest.json", library_->pool_dir(), bad.id), "{\"half"));
  ASSERT_EQ(library_->Templates()->size(), 1u);
  EXPECT_EQ(library_->Templates()->front().name, "good");
  EXPECT_EQ(library_->FindTemplate("bad").error().code(), Code::kDataLoss);
  EXPECT_EQ(library_->FindTemplate(bad.id).error().code(), Code::kDataLoss);
  EXPECT_EQ(library_->FindTemplate("other").error().code(), Code::kNotFound);
  EXPECT_EQ(Clone(bad, "one", 0, 0).error().code(), Code::kDataLoss);
  EXPECT_TRUE(Clone(good, "one", 0, 0));
}

TEST_F(LibraryRootTest, RemovesTemplatesButNotTheirClones) {
  const auto source = MakeTemplate("small");
  const auto disk = Clone(source, "one", 0, 0).value();
  ASSERT_TRUE(library_->RemoveTemplate(source.id));
  EXPECT_EQ(library_->RemoveTemplate(source.id).error().code(), Code::kNotFound);
  EXPECT_EQ(library_->FindTemplate("small").error().code(), Code::kNotFound);
  EXPECT_EQ(sys::Stat(disk)->st_size, static_cast<off_t>(kDiskBytes));
}

TEST_F(LibraryRootTest, ReplacesATemplateThatIsBuiltAgain) {
  const auto first = MakeTemplate("small");
  const auto before = sys::ReadFile(first.disk, kDiskBytes).value();
  const auto second = MakeTemplate("small");
  EXPECT_EQ(first.id, second.id);
  EXPECT_NE(sys::ReadFile(second.disk, kDiskBytes).value(), before) << "ext4 has a new UUID";
  EXPECT_EQ(library_->Templates()->size(), 1u);
}

TEST_F(LibraryRootTest, KeepsOwnersModesLinksAndAttributes) {
  const auto tree = dir_.path() + "/tree";
  ASSERT_TRUE(sys::MakeDirs(tree));
  ASSERT_TRUE(sys::WriteFileAtomic(tree + "/file", "content", 0600));
  ASSERT_EQ(::chown((tree + "/file").c_str(), 1000, 1001), 0);
  ASSERT_EQ(::chmod((tree + "/file").c_str(), 04755), 0);
  ASSERT_EQ(::link((tree + "/file").c_str(), (tree + "/hard").c_str()), 0);
  ASSERT_EQ(::symlink("file", (tree + "/soft").c_str()), 0);
  const auto disk = dir_.path() + "/disk.img";
  ASSERT_TRUE(MakeExt4(tree, disk, kDiskBytes));
  const auto file = sys::Open(disk, O_RDWR).value();
  EXPECT_TRUE(CheckExt4(file, kDiskBytes));
  EXPECT_EQ(CheckExt4(file, kDiskBytes / 2).error().code(), Code::kDataLoss);
  const auto mounted = dir_.path() + "/mnt";
  ASSERT_TRUE(sys::MakeDirs(mounted));
  const auto device = sys::AttachLoop(file, disk);
  ASSERT_TRUE(device) << device.error().ToString();
  ASSERT_EQ(::mount(device->path.c_str(), mounted.c_str(), "ext4", MS_RDONLY, nullptr), 0);
  const auto st = sys::Stat(mounted + "/file");
  const auto link = sys::Stat(mounted + "/soft");
  const auto root = sys::Stat(mounted);
  ASSERT_EQ(::umount(mounted.c_str()), 0);
  ASSERT_TRUE(st && link && root);
  EXPECT_EQ(st->st_uid, 1000u);
  EXPECT_EQ(st->st_gid, 1001u);
  EXPECT_EQ(st->st_mode & 07777, 04755u);
  EXPECT_EQ(st->st_nlink, 2u);
  EXPECT_EQ(link->st_ino, st->st_ino);
  EXPECT_EQ(root->st_mode & 07777, 0755u);
}

TEST_F(LibraryRootTest, SaysThatADiskIsTooSmallForItsContent) {
  const auto tree = dir_.path() + "/tree";
  ASSERT_TRUE(sys::MakeDirs(tree));
  ASSERT_TRUE(sys::WriteFileAtomic(tree + "/big", testing::Noise(60 * kMiB)));
  const auto made = MakeExt4(tree, dir_.path() + "/disk.img", kDiskBytes);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), Code::kResourceExhausted) << made.error().ToString();
  EXPECT_FALSE(made.error().remedy().empty());
}

TEST_F(LibraryRootTest, FurnishesATree) {
  const auto tree = dir_.path() + "/tree";
  for (const char* dir : {"/etc/skel", "/etc/sudoers.d", "/etc/apt/apt.conf.d", "/home"}) {
    ASSERT_TRUE(sys::MakeDirs(tree + dir));
  }
  for (const char* file : {"passwd", "group", "shadow", "gshadow"}) {
    ASSERT_TRUE(sys::WriteFileAtomic(fmt::format("{}/etc/{}", tree, file), "root:x:0:\n"));
  }
  for (const char* file : {".bashrc", ".profile", ".bash_logout"}) {
    ASSERT_TRUE(sys::WriteFileAtomic(fmt::format("{}/etc/skel/{}", tree, file), file));
  }
  ASSERT_TRUE(sys::WriteFileAtomic(tree + "/etc/apt/apt.conf.d/99mmdebstrap", "the host's proxy"));
  ASSERT_TRUE(sys::WriteFileAtomic(tree + "/etc/profile",
                                   "if [ \"$(id -u)\" -eq 0 ]; then\n[ \"$(id -u)\" -eq 0 ]\n"));
  const auto furnished = FurnishRootfs(tree, {"deb http://archive.example/debian x main"});
  ASSERT_TRUE(furnished) << furnished.error().ToString();
  EXPECT_THAT(sys::ReadFile(tree + "/etc/passwd").value(),
              HasSubstr("\nuser:x:1000:1000::/home/user:/bin/bash\n"));
  const auto home = sys::Stat(tree + "/home/user").value();
  EXPECT_EQ(home.st_uid, 1000u);
  EXPECT_EQ(sys::Stat(tree + "/home/user/.bashrc")->st_uid, 1000u);
  EXPECT_EQ(sys::Stat(tree + "/etc/sudoers.d/user")->st_mode & 07777, 0440u);
  EXPECT_EQ(sys::ReadFile(tree + "/etc/apt/sources.list").value(),
            "deb http://archive.example/debian x main\n");
  EXPECT_FALSE(sys::Exists(tree + "/etc/apt/apt.conf.d/99mmdebstrap"));
  EXPECT_EQ(sys::ReadFile(tree + "/etc/profile").value(),
            "if [ \"${EUID:-$(id -u)}\" -eq 0 ]; then\n[ \"${EUID:-$(id -u)}\" -eq 0 ]\n");
}

TEST_F(LibraryRootTest, SweepsWhatAKilledPreparationHasLeft) {
  const auto left = options_.state_dir + "/tmp/rootfs";
  ASSERT_TRUE(sys::MakeDirs(left + "/mounted"));
  {
    // A preparation that is running keeps what it has.
    const auto lock = LockFile(options_.state_dir + "/prepare.lock");
    ASSERT_TRUE(lock);
    ASSERT_TRUE(OpenLibrary(options_, {}));
    EXPECT_TRUE(sys::Exists(left));
  }
  ASSERT_EQ(::mount("tmpfs", (left + "/mounted").c_str(), "tmpfs", 0, ""), 0);
  ASSERT_TRUE(OpenLibrary(options_, {}));
  EXPECT_FALSE(sys::Exists(options_.state_dir + "/tmp"));
}

// Without any network, which a namespace of its own sees to: nothing is sent anywhere.
TEST_F(LibraryRootTest, SaysThatThereIsNoNetworkAndLeavesNothing) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNET) != 0) ::_exit(10);
    const auto base = library_->PrepareBaseTemplate({});
    if (base) ::_exit(11);
    std::fprintf(stderr, "%s\n", base.error().ToString().c_str());
    ::_exit(base.error().code() == Code::kUnavailable && !base.error().remedy().empty() ? 0 : 12);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_FALSE(sys::Exists(options_.state_dir + "/tmp"));
  EXPECT_FALSE(sys::Exists(library_->pool_dir() + "/tmp"));
  EXPECT_THAT(library_->Templates().value(), IsEmpty());
}

class KernelRootTest : public LibraryRootTest {
 protected:
  std::string Package(std::string_view kernel_code) {
    const std::string modules = "lib/modules/9.9-test/";
    return testing::MakeDeb(
        {{"boot/vmlinuz-9.9-test",
          testing::MakeBzImage(testing::Compress(Compression::kZstd,
                                                 testing::MakeVmlinux(std::string(kernel_code))))},
         {modules + "modules.builtin",
          "kernel/fs/ext4/ext4.ko\nkernel/fs/fuse/fuse.ko\nkernel/virtio_balloon.ko\n"},
         {modules + "kernel/virtio.ko", testing::MakeModule("")},
         {modules + "kernel/virtio_mmio.ko.xz",
          testing::Compress(Compression::kXz, testing::MakeModule("virtio"))},
         {modules + "kernel/virtio_blk.ko", testing::MakeModule("virtio")},
         {modules + "kernel/virtio_net.ko", testing::MakeModule("virtio")},
         {modules + "kernel/virtio-rng.ko", testing::MakeModule("virtio")},
         {modules + "kernel/sound.ko", testing::MakeModule("")}});
  }
  base::Result<Kernel> Install(const std::string& package) {
    const auto deb = dir_.path() + "/kernel.deb";
    EXPECT_TRUE(sys::WriteFileAtomic(deb, package));
    const auto work = dir_.path() + "/work";
    EXPECT_TRUE(sys::MakeDirs(work));
    return Store().Install("linux-image-9.9-test", deb, work, [](std::string_view) {});
  }
  KernelStore Store() {
    return KernelStore({.state_dir = options_.state_dir,
                        .agent = options_.agent,
                        .package = "tinderbox-test-no-such-package"});
  }
};

TEST_F(KernelRootTest, SaysThatNoKernelWasPrepared) {
  const auto kernel = library_->DefaultKernel();
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code(), Code::kFailedPrecondition);
  EXPECT_THAT(kernel.error().remedy(), HasSubstr("prepare"));
}

TEST_F(KernelRootTest, InstallsAPackage) {
  const auto installed = Install(Package("kernel code"));
  ASSERT_TRUE(installed) << installed.error().ToString();
  const auto kernel = library_->DefaultKernel();
  ASSERT_TRUE(kernel) << kernel.error().ToString();
  EXPECT_EQ(kernel->version, "9.9-test");
  EXPECT_EQ(sys::ReadFile(kernel->vmlinux).value(), testing::MakeVmlinux("kernel code"));
  const auto initrd = sys::ReadFile(kernel->initrd).value();
  EXPECT_THAT(initrd, HasSubstr("\177ELF agent"));
  EXPECT_THAT(
      initrd,
      HasSubstr("virtio.ko\nvirtio_mmio.ko\nvirtio_blk.ko\nvirtio_net.ko\nvirtio-rng.ko\n"));
  EXPECT_THAT(initrd, ::testing::Not(HasSubstr("sound.ko")));
}

TEST_F(KernelRootTest, RebuildsTheInitramfsOnlyWhenTheAgentChanges) {
  const auto kernel = Install(Package("code")).value();
  const auto inode = [&] { return sys::Stat(kernel.initrd)->st_ino; };
  const auto first = inode();
  // apt does not know the package: what there is is kept, as on a host that is off line.
  ASSERT_TRUE(Store().Prepare([](std::string_view) {}));
  EXPECT_EQ(inode(), first);
  ASSERT_TRUE(sys::WriteFileAtomic(options_.agent, "\177ELF newer agent"));
  const auto prepared = Store().Prepare([](std::string_view) {});
  ASSERT_TRUE(prepared) << prepared.error().ToString();
  EXPECT_NE(inode(), first);
  EXPECT_THAT(sys::ReadFile(kernel.initrd).value(), HasSubstr("newer agent"));
  EXPECT_TRUE(library_->DefaultKernel());
}

TEST_F(KernelRootTest, SaysWhatIsDamaged) {
  const auto kernel = Install(Package(testing::Noise(100'000))).value();
  const auto refused = [&](Code code) {
    const auto opened = library_->DefaultKernel();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), code) << opened.error().ToString();
    EXPECT_FALSE(opened.error().remedy().empty());
  };
  const auto whole = sys::ReadFile(kernel.vmlinux).value();
  ASSERT_TRUE(sys::WriteFileAtomic(kernel.vmlinux, whole.substr(0, 50'000)));
  refused(Code::kDataLoss);
  ASSERT_TRUE(sys::WriteFileAtomic(kernel.vmlinux, std::string(whole.size(), 'x')));
  refused(Code::kInvalidArgument);
  ASSERT_TRUE(sys::RemoveFile(kernel.vmlinux));
  refused(Code::kDataLoss);
  ASSERT_TRUE(sys::WriteFileAtomic(kernel.vmlinux, whole));
  ASSERT_TRUE(library_->DefaultKernel());
  ASSERT_TRUE(sys::WriteFileAtomic(options_.state_dir + "/kernels/current", "../../etc\n"));
  refused(Code::kDataLoss);
}

TEST_F(KernelRootTest, LeavesTheOldKernelWhereANewOneCannotBeInstalled) {
  const auto kernel = Install(Package("old code")).value();
  auto damaged = Package("new code");
  damaged.resize(damaged.size() / 2);
  EXPECT_EQ(Install(damaged).error().code(), Code::kDataLoss);
  EXPECT_FALSE(Install(testing::MakeDeb({{"usr/share/doc/readme", "no kernel"}})));
  EXPECT_EQ(sys::ReadFile(library_->DefaultKernel()->vmlinux).value(),
            testing::MakeVmlinux("old code"));
}

TEST_F(KernelRootTest, NeedsAnAgent) {
  ASSERT_TRUE(sys::RemoveFile(options_.agent));
  const auto installed = Install(Package("code"));
  ASSERT_FALSE(installed);
  EXPECT_THAT(installed.error().remedy(), HasSubstr("tinderbox-agent"));
}

}  // namespace
}  // namespace tinderbox::image
