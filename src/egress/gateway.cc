// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/gateway.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <future>
#include <map>
#include <thread>
#include <utility>

#include "base/log.h"
#include "egress/changer.h"
#include "egress/flow.h"
#include "sys/netns.h"

namespace tinderbox::egress {
namespace {

namespace asio = boost::asio;
using base::Result;

constexpr int kBacklog = 128;
constexpr std::chrono::milliseconds kAfterAcceptError{100};
// What the destructor gives the loop to end by itself.
constexpr std::chrono::seconds kLastTurns{2};

// The socket that the kernel's rules redirect to.
Result<sys::UniqueFd> ListenIn(sys::FdRef netns) {
  sys::UniqueFd fd;
  const auto make = [&]() -> Result<> {
    fd = sys::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return base::FailErrno(errno, "make the gateway's socket");
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(network::kRedirectPort);
    ::inet_pton(AF_INET, network::kGatewayAddress, &address.sin_addr);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        ::listen(fd.get(), kBacklog) != 0) {
      return base::FailErrno(errno, fmt::format("listen at {}:{} for a sandbox's connections",
                                                network::kGatewayAddress, network::kRedirectPort));
    }
    return {};
  };
  TRY(sys::RunInNetNs(netns, make));
  return fd;
}

class GatewayImpl final : public Gateway {
 public:
  explicit GatewayImpl(const GatewayOptions& options) : options_(options) {}
  ~GatewayImpl() override;

  Result<> Start();
  Result<> Serve(std::uint32_t index, sys::UniqueFd netns, const Rules& rules) override;
  void Forget(std::uint32_t index) override;
  Result<std::string> Certificate() override { return changer_.Certificate(); }
  Counts counts() override;

 private:
  using PlacePtr = std::shared_ptr<Place>;

  // Runs `work` on the loop's thread and returns what it returned.
  template <typename Work>
  auto OnLoop(Work work) {
    std::packaged_task<decltype(work())()> task(std::move(work));
    auto done = task.get_future();
    asio::post(io_, [&task] { task(); });
    return done.get();
  }
  // On the loop's thread.
  Result<> Open(std::uint32_t index, sys::UniqueFd netns, sys::UniqueFd listener,
                const Rules& rules);
  void Change(Place& place, const Rules& rules);
  void Close(std::uint32_t index);
  net::Task<> Accept(PlacePtr place);
  void Begin(const PlacePtr& place, net::StreamSocket client);

  const GatewayOptions options_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::unique_ptr<Resolver> resolver_;
  Changer changer_{options_};
  std::unique_ptr<Service> service_;
  std::map<std::uint32_t, PlacePtr> places_;
  std::promise<void> ended_;
  std::thread thread_;
};

GatewayImpl::~GatewayImpl() {
  if (!thread_.joinable()) return;
  asio::post(io_, [this] {
    while (!places_.empty()) Close(places_.begin()->first);
    // What is being looked up ends, and with it the last that the loop waits for.
    resolver_.reset();
    work_.reset();
  });
  if (ended_.get_future().wait_for(kLastTurns) != std::future_status::ready) io_.stop();
  thread_.join();
}

Result<> GatewayImpl::Start() {
  resolver_ = TRY(Resolver::Make(io_, {.servers = options_.dns}));
  service_ = std::make_unique<Service>(Service{io_, *resolver_, changer_, options_});
  // No signal of the process is for this thread: it starts with all of them blocked.
  sigset_t all, usual;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &usual);
  thread_ = std::thread([this] {
    io_.run();
    ended_.set_value();
  });
  pthread_sigmask(SIG_SETMASK, &usual, nullptr);
  return {};
}

Result<> GatewayImpl::Serve(std::uint32_t index, sys::UniqueFd netns, const Rules& rules) {
  // What cannot be served is told now, not to each connection.
  if (!rules.transforms.empty()) TRY(Certificate());
  const bool changed = OnLoop([&] {
    const auto found = places_.find(index);
    if (found == places_.end()) return false;
    Change(*found->second, rules);
    return true;
  });
  if (changed) return {};
  sys::UniqueFd listener = TRY(ListenIn(netns));
  return OnLoop([&] { return Open(index, std::move(netns), std::move(listener), rules); });
}

void GatewayImpl::Forget(std::uint32_t index) {
  OnLoop([&] { Close(index); });
}

Gateway::Counts GatewayImpl::counts() {
  return OnLoop([&] {
    Counts counts{.slots = places_.size()};
    for (const auto& [index, place] : places_) counts.connections += place->flows.size();
    return counts;
  });
}

Result<> GatewayImpl::Open(std::uint32_t index, sys::UniqueFd netns, sys::UniqueFd listener,
                           const Rules& rules) {
  const auto place = std::make_shared<Place>();
  place->index = index;
  place->netns = std::move(netns);
  place->rules = rules;
  place->acceptor.emplace(io_);
  boost::system::error_code ec;
  place->acceptor->assign(asio::ip::tcp::v4(), listener.get(), ec);
  if (ec) {
    return base::Fail(base::Code::kInternal,
                      fmt::format("watch the gateway's socket: {}", ec.message()));
  }
  static_cast<void>(listener.Release());
  places_[index] = place;
  asio::co_spawn(io_, Accept(place), [](std::exception_ptr) {});
  return {};
}

namespace {
bool SameTransform(const Transform* a, const Transform* b) {
  return a == nullptr || b == nullptr ? a == b : *a == *b;
}
}  // namespace

void GatewayImpl::Change(Place& place, const Rules& rules) {
  const bool same_way = place.rules.proxy == rules.proxy;
  place.rules = rules;
  // A copy: a reset may end flows.
  const std::vector flows(place.flows.begin(), place.flows.end());
  for (const auto& flow : flows) {
    if (!flow->verdict) continue;
    const bool same =
        same_way && Decide(rules, flow->name, flow->dialled) == *flow->verdict &&
        SameTransform(flow->transform.get(), FindTransform(rules.transforms, flow->name));
    if (!same) flow->Reset();
  }
}

void GatewayImpl::Close(std::uint32_t index) {
  const auto found = places_.find(index);
  if (found == places_.end()) return;
  const PlacePtr place = found->second;
  places_.erase(found);
  boost::system::error_code ignored;
  place->acceptor->close(ignored);
  const std::vector flows(place->flows.begin(), place->flows.end());
  for (const auto& flow : flows) flow->Reset();
  place->netns.Reset();
}

net::Task<> GatewayImpl::Accept(PlacePtr place) {
  asio::steady_timer pause(io_);
  while (place->acceptor->is_open()) {
    boost::system::error_code ec;
    asio::ip::tcp::socket accepted(io_);
    co_await place->acceptor->async_accept(accepted, asio::redirect_error(asio::use_awaitable, ec));
    if (!place->acceptor->is_open()) break;
    if (!ec) {
      Begin(place, net::StreamSocket(std::move(accepted)));
      continue;
    }
    // The guest went away again, or we are out of descriptors.
    pause.expires_after(kAfterAcceptError);
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
}

void GatewayImpl::Begin(const PlacePtr& place, net::StreamSocket client) {
  const auto flow = std::make_shared<Flow>(io_, place, std::move(client));
  if (place->flows.size() >= options_.connections_per_slot) return flow->Reset();
  const auto entry = place->flows.insert(place->flows.end(), flow);
  asio::co_spawn(io_, RunFlow(*service_, flow),
                 [place, entry](std::exception_ptr) { place->flows.erase(entry); });
}

}  // namespace

base::Result<std::unique_ptr<Gateway>> OpenGateway(const GatewayOptions& options) {
  auto gateway = std::make_unique<GatewayImpl>(options);
  TRY(gateway->Start());
  return gateway;
}

}  // namespace tinderbox::egress
