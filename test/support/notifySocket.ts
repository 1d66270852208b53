/** The socket of a service manager, as systemd has one: what a program tells it is read datagram by datagram. */
import { Effect, type Scope } from "effect"
import { libc } from "../../layers/dataplane/native/ffi.ts"
import { makeMemory } from "../../layers/dataplane/native/memory.ts"

const AF_UNIX = 1
const SOCK_DGRAM_NONBLOCK = 0o4002

/** `path` as the kernel takes it: an abstract name begins with a zero. Yields what has come since it was read last, in order. */
export const listenNotify = (path: Uint8Array): Effect.Effect<() => ReadonlyArray<string>, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const fd = libc.socket(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0)
        bytes.fill(0)
        bytes[0] = AF_UNIX
        bytes.set(path, 2)
        if (libc.bind(fd, pointer, 2 + path.length) < 0) throw new Error("the socket cannot be made")
        return fd
      }),
      (fd) => Effect.sync(() => void libc.close(fd))
    ),
    (fd) => () => {
      const heard: Array<string> = []
      for (;;) {
        const length = libc.read(fd, pointer, bytes.length)
        if (length < 0) return heard
        heard.push(new TextDecoder().decode(bytes.slice(0, length)))
      }
    }
  )

const { arena, base } = makeMemory(1)
const at = arena.reserve(4_096)
const bytes = arena.bytes.subarray(at, at + 4_096)
const pointer = base + at
