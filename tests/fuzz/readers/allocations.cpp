// Counts the memory that is held. The allocators of ASan and TSan report every allocation to a hook; otherwise operator new is
// replaced, which does not see what C libraries take by malloc (zlib: 40 kB for each open stream; no size of theirs comes from a
// file).
#include <atomic>

#include "tests/fuzz/readers/readers.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NNC_ALLOCATOR_HOOKS 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NNC_ALLOCATOR_HOOKS 1
#endif

namespace {

// Below zero where what was allocated before counting began is freed after.
std::atomic<ptrdiff_t> held{0}, peak{0};

void take(size_t size) {
  ptrdiff_t now = held += static_cast<ptrdiff_t>(size);
  if (now > peak) peak = now;
}

}  // namespace

namespace nnc::fuzz {

HeldMemory held_memory() { return {held, peak}; }
void reset_peak() { peak = held.load(); }

}  // namespace nnc::fuzz

#ifdef NNC_ALLOCATOR_HOOKS

#include <sanitizer/allocator_interface.h>

namespace {

const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void* p, size_t) {
      if (p) take(__sanitizer_get_allocated_size(const_cast<const void*>(p)));
    },
    [](const volatile void* p) {
      if (p) held -= static_cast<ptrdiff_t>(__sanitizer_get_allocated_size(const_cast<const void*>(p)));
    });

}  // namespace

#else

#include <malloc.h>

#include <cstdlib>
#include <new>

namespace {

void* count(void* p) {
  if (!p) throw std::bad_alloc();
  take(malloc_usable_size(p));
  return p;
}

void release(void* p) {
  if (p) held -= static_cast<ptrdiff_t>(malloc_usable_size(p));
  std::free(p);
}

}  // namespace

void* operator new(size_t size) { return count(std::malloc(size ? size : 1)); }
void* operator new[](size_t size) { return count(std::malloc(size ? size : 1)); }
void* operator new(size_t size, std::align_val_t alignment) {
  void* p = nullptr;
  return count(posix_memalign(&p, static_cast<size_t>(alignment), size ? size : 1) == 0 ? p : nullptr);
}
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, size_t) noexcept { release(p); }
void operator delete[](void* p, size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { release(p); }

#endif
