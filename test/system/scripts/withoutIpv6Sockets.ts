/**
 * Runs a command on a kernel that has no sockets of IPv6, as one that was started with `ipv6.disable=1`: a seccomp filter
 * answers socket(AF_INET6, …) with EAFNOSUPPORT. Arguments: the command.
 */
import { spawn } from "node:child_process"
import { makeMemory } from "../../../layers/dataplane/native/memory.ts"
import { bind } from "../../../layers/dataplane/native/ffi.ts"

/** struct sock_filter: code, jump if true, jump if false, constant. */
const program: ReadonlyArray<readonly [code: number, yes: number, no: number, k: number]> = [
  [0x20, 0, 0, 0], // the call's number
  [0x15, 0, 3, process.arch === "x64" ? 41 : 198], // socket?
  [0x20, 0, 0, 16], // its first argument
  [0x15, 0, 1, 10], // AF_INET6?
  [0x06, 0, 0, 0x0005_0000 | 97], // EAFNOSUPPORT
  [0x06, 0, 0, 0x7fff_0000] // allowed
]
const PR_SET_NO_NEW_PRIVS = 38
const PR_SET_SECCOMP = 22
const SECCOMP_MODE_FILTER = 2

const native = makeMemory(1)
const at = native.arena.reserve(8 * program.length + 16, 16)
const view = new DataView(native.memory.buffer, at)
for (const [i, [code, yes, no, k]] of program.entries()) {
  view.setUint16(16 + 8 * i, code, true)
  view.setUint8(16 + 8 * i + 2, yes)
  view.setUint8(16 + 8 * i + 3, no)
  view.setUint32(16 + 8 * i + 4, k, true)
}
view.setUint16(0, program.length, true)
view.setBigUint64(8, BigInt(native.base + at + 16), true)

const prctl = bind("int prctl(int, ulong, uintptr_t, ulong, ulong)")
prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
// Of this thread, which is the one that forks.
if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, native.base + at, 0, 0) !== 0) {
  throw new Error("the kernel takes no seccomp filter")
}

const [command, ...args] = process.argv.slice(2)
const child = spawn(command!, args, { stdio: "inherit" })
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => child.kill(signal))
child.once("exit", (code) => process.exit(code ?? 1))
