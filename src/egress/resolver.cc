// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netinet/in.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <mutex>
#include <utility>

namespace tinderbox::egress {
namespace {

namespace asio = boost::asio;
using asio::posix::stream_descriptor;
using base::Code;
using base::Result;
using Clock = std::chrono::steady_clock;
using Addresses = std::vector<sys::Ipv4>;

constexpr std::chrono::seconds kLongestKept{60};
constexpr std::chrono::seconds kShortestKept{1};
constexpr std::chrono::seconds kFailureKept{1};
constexpr int kTries = 2;

// Of one name: asked for, or known.
struct Entry {
  explicit Entry(asio::io_context& io) : answered(io, Clock::time_point::max()) {}
  asio::steady_timer answered;
  bool asking = true;
  Result<Addresses> addresses = Addresses{};
  Clock::time_point until{};
};

// A socket of the library's, watched for it.
struct Watch {
  Watch(asio::io_context& io, int fd) : descriptor(io, fd) {}
  stream_descriptor descriptor;  // its descriptor is the library's: released, never closed
  bool wants_read = false, wants_write = false;
  bool reading = false, writing = false;
};

class AresResolver final : public Resolver {
 public:
  AresResolver(asio::io_context& io, const Options& options)
      : io_(io), options_(options), timer_(io) {}
  ~AresResolver() override {
    if (channel_ != nullptr) ares_destroy(channel_);
    for (auto& [fd, watch] : watches_) watch->descriptor.release();
  }

  Result<> Open();
  net::AsyncResult<Addresses> Resolve(std::string name) override;

 private:
  struct Question {
    AresResolver& resolver;
    std::string name;
    std::shared_ptr<Entry> entry;
  };

  std::shared_ptr<Entry> Find(const std::string& name);
  void Ask(const std::string& name, std::shared_ptr<Entry> entry);
  void MakeRoom();
  static void OnAnswer(void* question, int status, int timeouts, ares_addrinfo* info);
  static void OnSocketState(void* self, int fd, int readable, int writable);
  void Arm(int fd, const std::shared_ptr<Watch>& watch);
  void ArmTimer();

  asio::io_context& io_;
  const Options options_;
  ares_channel channel_ = nullptr;
  asio::steady_timer timer_;
  std::map<int, std::shared_ptr<Watch>> watches_;
  std::map<std::string, std::shared_ptr<Entry>, std::less<>> entries_;
  std::size_t asking_ = 0;
};

std::unexpected<base::Error> Failed(int status, std::string_view doing) {
  return base::Fail(Code::kInternal, fmt::format("{}: {}", doing, ares_strerror(status)));
}

Result<> AresResolver::Open() {
  static std::once_flag once;
  static int library = ARES_SUCCESS;
  std::call_once(once, [] { library = ares_library_init(ARES_LIB_INIT_ALL); });
  if (library != ARES_SUCCESS) return Failed(library, "set up name resolution");
  ares_options options{};
  options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES;
  options.timeout = static_cast<int>(options_.timeout.count());
  options.tries = kTries;
  options.sock_state_cb = &AresResolver::OnSocketState;
  options.sock_state_cb_data = this;
  char lookups[] = "b";  // name servers alone
  options.lookups = lookups;
  const int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB |
                   ARES_OPT_LOOKUPS;
  if (const int status = ares_init_options(&channel_, &options, mask); status != ARES_SUCCESS) {
    channel_ = nullptr;
    return Failed(status, "set up name resolution");
  }
  std::vector<std::string> servers;
  for (const std::string& server : options_.servers) {
    servers.push_back(fmt::format("{}:{}", server, options_.port));
  }
  const std::string text = fmt::format("{}", fmt::join(servers, ","));
  if (const int status = ares_set_servers_ports_csv(channel_, text.c_str());
      status != ARES_SUCCESS) {
    return Failed(status, fmt::format("use the name servers {}", text));
  }
  return {};
}

net::AsyncResult<Addresses> AresResolver::Resolve(std::string name) {
  std::shared_ptr<Entry> entry = Find(name);
  if (!entry) {
    if (asking_ >= options_.asking) {
      co_return base::Fail(Code::kResourceExhausted,
                           fmt::format("look up '{}': too many names are being looked up", name));
    }
    MakeRoom();
    entry = std::make_shared<Entry>(io_);
    entries_[name] = entry;
    Ask(name, entry);
  }
  boost::system::error_code ignored;
  while (entry->asking) {
    co_await entry->answered.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_return entry->addresses;
}

std::shared_ptr<Entry> AresResolver::Find(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return nullptr;
  if (!found->second->asking && found->second->until <= Clock::now()) {
    entries_.erase(found);
    return nullptr;
  }
  return found->second;
}

void AresResolver::MakeRoom() {
  if (entries_.size() < options_.names) return;
  const auto now = Clock::now();
  std::erase_if(entries_, [now](const auto& item) {
    return !item.second->asking && item.second->until <= now;
  });
  // Still full: somebody makes names up. Whoever is waiting keeps the entry alive.
  if (entries_.size() >= options_.names) {
    std::erase_if(entries_, [](const auto& item) { return !item.second->asking; });
  }
}

void AresResolver::Ask(const std::string& name, std::shared_ptr<Entry> entry) {
  ++asking_;
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = ARES_AI_NOSORT;
  auto* const question = new Question{*this, name, std::move(entry)};
  ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, &AresResolver::OnAnswer, question);
  ArmTimer();
}

// The library calls it exactly once for each question, also when it is destroyed.
void AresResolver::OnAnswer(void* argument, int status, int /*timeouts*/, ares_addrinfo* info) {
  const std::unique_ptr<Question> question(static_cast<Question*>(argument));
  Entry& entry = *question->entry;
  --question->resolver.asking_;
  Addresses addresses;
  auto kept = kLongestKept;
  for (const auto* node = info != nullptr ? info->nodes : nullptr; node != nullptr;
       node = node->ai_next) {
    if (node->ai_family != AF_INET) continue;
    const auto& address = *reinterpret_cast<const sockaddr_in*>(node->ai_addr);
    addresses.push_back(sys::Ipv4{ntohl(address.sin_addr.s_addr)});
    kept = std::min(kept, std::chrono::seconds(std::max(node->ai_ttl, 0)));
  }
  if (info != nullptr) ares_freeaddrinfo(info);
  if (!addresses.empty()) {
    entry.addresses = std::move(addresses);
    entry.until = Clock::now() + std::max(kept, kShortestKept);
  } else {
    const bool none = status == ARES_SUCCESS || status == ARES_ENOTFOUND || status == ARES_ENODATA;
    entry.addresses =
        base::Fail(none ? Code::kNotFound : Code::kUnavailable,
                   fmt::format("look up '{}': {}", question->name,
                               none ? "it has no IPv4 address" : ares_strerror(status)));
    entry.until = Clock::now() + kFailureKept;
  }
  entry.asking = false;
  entry.answered.cancel();
}

void AresResolver::OnSocketState(void* argument, int fd, int readable, int writable) {
  auto& self = *static_cast<AresResolver*>(argument);
  const auto found = self.watches_.find(fd);
  if (readable == 0 && writable == 0) {
    if (found == self.watches_.end()) return;
    found->second->descriptor.release();
    self.watches_.erase(found);
    return;
  }
  std::shared_ptr<Watch> watch;
  if (found != self.watches_.end()) {
    watch = found->second;
  } else {
    watch = std::make_shared<Watch>(self.io_, fd);
    self.watches_[fd] = watch;
  }
  watch->wants_read = readable != 0;
  watch->wants_write = writable != 0;
  self.Arm(fd, watch);
}

void AresResolver::Arm(int fd, const std::shared_ptr<Watch>& watch) {
  const auto wait = [&](stream_descriptor::wait_type type, bool Watch::* wants,
                        bool Watch::* armed) {
    if (!(watch.get()->*wants) || watch.get()->*armed) return;
    watch.get()->*armed = true;
    watch->descriptor.async_wait(type, [this, fd, armed, type, weak = std::weak_ptr<Watch>(watch)](
                                           boost::system::error_code ec) {
      const std::shared_ptr<Watch> self = weak.lock();
      // Released meanwhile: the number may be another socket's by now.
      if (!self) return;
      self.get()->*armed = false;
      if (ec) return;
      const bool read = type == stream_descriptor::wait_read;
      ares_process_fd(channel_, read ? fd : ARES_SOCKET_BAD, read ? ARES_SOCKET_BAD : fd);
      const auto found = watches_.find(fd);
      if (found != watches_.end() && found->second == self) Arm(fd, self);
      ArmTimer();
    });
  };
  wait(stream_descriptor::wait_read, &Watch::wants_read, &Watch::reading);
  wait(stream_descriptor::wait_write, &Watch::wants_write, &Watch::writing);
}

// For as long as something is asked, the library wants to see the time pass.
void AresResolver::ArmTimer() {
  if (asking_ == 0) {
    timer_.cancel();
    return;
  }
  timeval longest{1, 0};
  timeval next{};
  const timeval* const due = ares_timeout(channel_, &longest, &next);
  timer_.expires_after(std::chrono::seconds(due->tv_sec) + std::chrono::microseconds(due->tv_usec));
  timer_.async_wait([this](boost::system::error_code ec) {
    if (ec) return;
    ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    ArmTimer();
  });
}

}  // namespace

Result<std::unique_ptr<Resolver>> Resolver::Make(asio::io_context& io, const Options& options) {
  auto resolver = std::make_unique<AresResolver>(io, options);
  TRY(resolver->Open());
  return resolver;
}

}  // namespace tinderbox::egress
