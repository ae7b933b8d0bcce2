// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// One breach of each check in .clang-tidy; tests/lint/tidy_canary_test.py expects every one to fire.
// Never linked into anything.
#include "canary.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coroutine>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};

std::size_t UseAfterMove(std::string text) {
  const std::string taken = std::move(text);
  return taken.size() + text.size();  // bugprone-use-after-move
}

void UnusedReturnValue(std::unique_ptr<int> owner) {
  owner.release();  // bugprone-unused-return-value
}

int UncheckedOptional(std::optional<int> value) {
  return *value;  // bugprone-unchecked-optional-access
}

std::string_view DanglingHandle() {
  std::string_view view = std::string("gone");  // bugprone-dangling-handle
  return view;
}

void InfiniteLoop() {
  int i = 0, j = 0;
  while (i < 10) ++j;  // bugprone-infinite-loop
}

void* SuspiciousRealloc(void* block) {
  block = std::realloc(block, 100);  // bugprone-suspicious-realloc-usage
  return block;
}

void Descriptors() {
  accept4(0, nullptr, nullptr, 0);    // android-cloexec-accept4
  dup(0);                             // android-cloexec-dup
  epoll_create1(0);                   // android-cloexec-epoll-create1
  inotify_init1(0);                   // android-cloexec-inotify-init1
  memfd_create("x", 0);               // android-cloexec-memfd-create
  open("/", O_RDONLY);                // android-cloexec-open
  int ends[2];
  pipe2(ends, 0);                     // android-cloexec-pipe2
}

void CapturingCoroutine(int value) {
  auto coroutine = [value]() -> Task {  // cppcoreguidelines-avoid-capturing-lambda-coroutines
    (void)value;
    co_return;
  };
  coroutine();
}

Task SuspendWithLock(std::mutex& mutex) {
  std::lock_guard<std::mutex> lock(mutex);  // misc-coroutine-hostile-raii
  co_await std::suspend_always{};     // cppcoreguidelines-no-suspend-with-lock
}

void Take(const std::string& text);
void MoveConst(const std::string text) {
  Take(std::move(text));  // performance-move-const-arg
}

const std::string& Name();
std::size_t Copy() {
  const std::string name = Name();  // performance-unnecessary-copy-initialization
  return name.size();
}
