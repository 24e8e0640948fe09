// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#if !defined(__CUDACC__)
#include <cstring>
#include <vector>
#endif

// What the attention block is written in: blocks, warps, lanes and asynchronous copies. Compiled by
// nvcc, the code of a warp runs once per lane on the GPU. Compiled by a host compiler, one call
// does the work of all 32 lanes and one loop that of all warps, so that tests run the same tiles,
// edges and softmax on any machine. Only the functions in this header and the instructions in
// warp_instructions.cuh are written twice.

#if defined(__CUDACC__)
#define Q2L_DEVICE __device__ __forceinline__
#define Q2L_CUDA_UNROLL _Pragma("unroll")
#else
#define Q2L_DEVICE inline
#define Q2L_CUDA_UNROLL
#endif

namespace q2l::cuda {

inline constexpr int warp_lanes = 32;

/// Bytes that one asynchronous copy moves; both addresses must be multiples of it.
inline constexpr int copy_bytes = 16;

/// Count values that move as one where the address is a multiple of their size.
template <class T, int Count>
struct alignas(Count * sizeof(T)) Pack {
  T values[Count];
};

#if defined(__CUDACC__)

inline namespace on_device {

/// Lanes whose work one call does.
inline constexpr int lanes_here = 1;

/// Calls f(lane) for every lane of the warp.
template <class F>
Q2L_DEVICE void each_lane(F&& f) {
  f(static_cast<int>(threadIdx.x) % warp_lanes);
}

/// Makes what every lane of the warp wrote visible to its other lanes.
Q2L_DEVICE void sync_warp() { __syncwarp(); }

/// A block of threads.
struct Block {
  /// Calls f(warp) for each of the block's warps.
  template <int Warps, class F>
  Q2L_DEVICE void each_warp(F&& f) const {
    f(static_cast<int>(threadIdx.x) / warp_lanes);
  }

  /// Waits for all warps.
  Q2L_DEVICE void sync() const { __syncthreads(); }
};

/// The copies to shared memory that a warp has under way, in groups.
struct CopyQueue {
  /// Begins to copy 16 bytes, or to write 16 zero bytes unless `is_inside`.
  Q2L_DEVICE void copy(void* to, const void* from, bool is_inside) {
#if __CUDA_ARCH__ >= 800
    const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(is_inside ? copy_bytes : 0)
                 : "memory");
#else
    *static_cast<uint4*>(to) = is_inside ? *static_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
#endif
  }

  /// Ends the group of the copies begun since the last call.
  Q2L_DEVICE void end_group() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }

  /// Waits for all groups but the newest `Pending`.
  template <int Pending>
  Q2L_DEVICE void wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
    sync_warp();
  }
};

#else

inline namespace on_host {

inline constexpr int lanes_here = warp_lanes;

template <class F>
void each_lane(F&& f) {
  for (int lane = 0; lane < warp_lanes; ++lane) f(lane);
}

inline void sync_warp() {}

struct Block {
  bool is_reversed = false;  ///< the last warp first: results must not depend on it

  template <int Warps, class F>
  void each_warp(F&& f) const {
    for (int i = 0; i < Warps; ++i) f(is_reversed ? Warps - 1 - i : i);
  }

  void sync() const {}
};

/// Copies as late as allowed, so that a missing wait shows.
struct CopyQueue {
  void copy(void* to, const void* from, bool is_inside) { open.push_back({to, from, is_inside}); }

  void end_group() {
    groups.push_back(std::move(open));
    open.clear();
  }

  template <std::size_t Pending>
  void wait() {
    while (groups.size() > Pending) {
      for (const Copy& c : groups.front()) {
        if (c.is_inside) {
          std::memcpy(c.to, c.from, copy_bytes);
        } else {
          std::memset(c.to, 0, copy_bytes);
        }
      }
      groups.erase(groups.begin());
    }
  }

 private:
  struct Copy {
    void* to;
    const void* from;
    bool is_inside;
  };
  std::vector<Copy> open;
  std::vector<std::vector<Copy> > groups;
};

#endif

/// One T for each lane of a warp.
template <class T>
struct PerLane {
  T values[lanes_here];

  Q2L_DEVICE T& operator[](int lane) { return values[lane % lanes_here]; }
  Q2L_DEVICE const T& operator[](int lane) const { return values[lane % lanes_here]; }
};

/// One T for each warp of a block; on the GPU, what the running warp holds in registers.
template <class T, int Warps>
struct PerWarp {
  static constexpr int warps_here = lanes_here == 1 ? 1 : Warps;
  T values[warps_here];

  Q2L_DEVICE T& operator[](int warp) { return values[warp % warps_here]; }
};

/// What the lane whose number differs in the bits of `mask` holds.
Q2L_DEVICE PerLane<float> shuffle_xor(const PerLane<float>& value, int mask) {
  PerLane<float> out;
#if defined(__CUDACC__)
  out.values[0] = __shfl_xor_sync(0xFFFFFFFFu, value.values[0], mask);
#else
  each_lane([&](int lane) { out[lane] = value[lane ^ mask]; });
#endif
  return out;
}

/// The largest value, ignoring NaN, of each group of `Lanes` neighbours, given to all of them.
template <int Lanes>
Q2L_DEVICE PerLane<float> group_max(PerLane<float> value) {
  Q2L_CUDA_UNROLL
  for (int mask = Lanes / 2; mask > 0; mask /= 2) {
    const PerLane<float> other = shuffle_xor(value, mask);
    each_lane([&](int lane) { value[lane] = fmaxf(value[lane], other[lane]); });
  }
  return value;
}

/// The sum of each group of `Lanes` neighbours, given to all of them: the same bits to each.
template <int Lanes>
Q2L_DEVICE PerLane<float> group_sum(PerLane<float> value) {
  Q2L_CUDA_UNROLL
  for (int mask = Lanes / 2; mask > 0; mask /= 2) {
    const PerLane<float> other = shuffle_xor(value, mask);
    each_lane([&](int lane) { value[lane] += other[lane]; });
  }
  return value;
}

}  // namespace on_device or on_host

}  // namespace q2l::cuda
