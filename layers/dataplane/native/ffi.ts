/**
 * The C functions that the gateway calls: libc, reached through koffi in the running process. Pointers are plain
 * numbers (`uintptr_t`; user space addresses fit 2^53), every call is synchronous. Linux, 64 bit, little-endian.
 */
import { constants } from "node:os"
import koffi from "koffi"

const library = koffi.load(null)

/** Binds one C function by its prototype; throws when the process does not export it. */
export const bind = (prototype: string): ((...args: ReadonlyArray<number | string>) => number) =>
  library.func(prototype) as (...args: ReadonlyArray<number | string>) => number

/** The same for a function that lies at an address, takes so many integers or pointers and whose result is of no interest. */
export const bindAt = (address: number, count: number): ((...args: ReadonlyArray<number>) => void) => {
  const prototype = koffi.proto(
    "void",
    Array.from({ length: count }, () => "uintptr_t")
  )
  return koffi.decode(BigInt(address), prototype) as (...args: ReadonlyArray<number>) => void
}

/** libc as prototypes name it. Each returns −1 on failure, the cause is in `errno()`. */
export const libc = {
  open: bind("int open(str, int, int)"),
  close: bind("int close(int)"),
  dup3: bind("int dup3(int, int, int)"),
  read: bind("long read(int, uintptr_t, size_t)"),
  write: bind("long write(int, uintptr_t, size_t)"),
  writev: bind("long writev(int, uintptr_t, int)"),
  ioctl: bind("int ioctl(int, ulong, uintptr_t)"),
  poll: bind("int poll(uintptr_t, ulong, int)"),
  eventfd: bind("int eventfd(uint, int)"),
  socket: bind("int socket(int, int, int)"),
  bind: bind("int bind(int, uintptr_t, uint)"),
  getsockname: bind("int getsockname(int, uintptr_t, uintptr_t)"),
  setsockopt: bind("int setsockopt(int, int, int, uintptr_t, uint)"),
  getsockopt: bind("int getsockopt(int, int, int, uintptr_t, uintptr_t)"),
  recvmsg: bind("long recvmsg(int, uintptr_t, int)"),
  sendmsg: bind("long sendmsg(int, uintptr_t, int)"),
  sendto: bind("long sendto(int, uintptr_t, size_t, int, uintptr_t, uint)"),
  flock: bind("int flock(int, int)"),
  sched_yield: bind("int sched_yield()"),
  sched_setscheduler: bind("int sched_setscheduler(int, int, uintptr_t)"),
  madvise: bind("int madvise(uintptr_t, size_t, int)"),
  clock_gettime: bind("int clock_gettime(int, uintptr_t)")
}

/** Number of the last failed call of this thread. */
export const errno = (): number => koffi.errno()

/** `EADDRINUSE` and so on; `errno 77` for a number without a name here. */
export const errnoName = (number: number): string => names.get(number) ?? `errno ${number}`

/** Where a buffer's bytes lie. Meaningful while the buffer lives and is not resized: pin it. */
export const addressOf = (buffer: ArrayBufferLike): number => Number(koffi.address(buffer))

const names = new Map<number, string>([[77, "EBADFD"]])
for (const [name, number] of Object.entries(constants.errno)) {
  if (!names.has(number)) names.set(number, name)
}
