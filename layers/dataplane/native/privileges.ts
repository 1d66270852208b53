/**
 * Gives up what a gateway does not need of the superuser's power. Capabilities belong to threads, and node has made some
 * before the first line of a program runs: the process gives them up in this thread and starts itself anew, which leaves no
 * other thread. Whatever it starts has no more than it has, and no set-uid program gives anything back.
 */
import * as Fs from "node:fs"
import * as os from "node:os"
import { dirname, resolve } from "node:path"
import {
  type FileFacts,
  heldPrivileges,
  neededCapabilities,
  type PathFacts,
  pathsIn
} from "../../../src/host/capabilities.ts"
import { maxFileLength } from "../../../src/config/GatewayConfig.ts"
import { bind } from "./ffi.ts"
import { makeMemory } from "./memory.ts"

/** In the environment: the process with this number has been here. */
const marker = "SALLYPORT_PRIVILEGES_SHED"

/** Does not return where there is something to give up; yields where there is not, or the system does not let us. */
export const shedPrivileges = (argv: ReadonlyArray<string>, defaults: ReadonlyArray<string>): void => {
  const been = process.env[marker] === String(process.pid)
  delete process.env[marker]
  if (been || typeof process.execve !== "function") return
  try {
    const uid = process.geteuid?.() ?? 0
    const needed = neededCapabilities(uid, os.release(), pathsOf(argv, defaults))
    const held = heldPrivileges(Fs.readFileSync("/proc/self/status", "utf8"))
    if (held.noNewPrivileges && (held.permitted & ~needed) === 0n) return
    giveUp(held.bounding, needed)
    const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
    process.execve(process.execPath, command, { ...process.env, [marker]: String(process.pid) })
  } catch {
    // A kernel or a C library without these calls: the gateway works with all that it was given, as before.
  }
}

/** Of this thread; what it may not give up stays. */
const giveUp = (bounding: bigint, needed: bigint): void => {
  const prctl = bind("int prctl(int, ulong, ulong, ulong, ulong)")
  const capget = bind("int capget(uintptr_t, uintptr_t)")
  const capset = bind("int capset(uintptr_t, uintptr_t)")
  for (let bit = 0; bit < 64; bit++) {
    const one = 1n << BigInt(bit)
    if ((bounding & one) !== 0n && (needed & one) === 0n) prctl(PR_CAPBSET_DROP, bit, 0, 0, 0)
  }
  const { arena, base, memory } = makeMemory(1)
  const at = arena.reserve(headerLength + dataLength)
  const view = new DataView(memory.buffer, at)
  view.setUint32(0, LINUX_CAPABILITY_VERSION_3, true)
  view.setInt32(4, 0, true)
  if (capget(base + at, base + at + headerLength) === 0) {
    // Effective, permitted and inheritable, of the lower and then of the upper 32 capabilities.
    for (let word = 0; word < 6; word++) {
      const offset = headerLength + 4 * word
      const mask = Number((word < 3 ? needed : needed >> 32n) & 0xffff_ffffn)
      view.setUint32(offset, (view.getUint32(offset, true) & mask) >>> 0, true)
    }
    capset(base + at, base + at + headerLength)
  }
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

/** What the process is going to use: itself, what its command line names, and what the files named there name. */
const pathsOf = (argv: ReadonlyArray<string>, defaults: ReadonlyArray<string>): ReadonlyArray<PathFacts> => {
  const program = [process.execPath, Fs.realpathSync(process.argv[1] ?? "."), process.cwd()]
  const given = [...argv.flatMap((word) => word.split("=")), ...defaults].filter((word) => word !== "")
  const named = given.flatMap((path) => pathsIn(textOf(path)))
  return [
    ...program.map((path) => factsOf(path, false)),
    ...given.map((path) => factsOf(path, facts(path)?.isDirectory() === true)),
    ...named.map((path) => factsOf(path, true))
  ]
}

const factsOf = (path: string, written: boolean): PathFacts => {
  const way: Array<FileFacts> = []
  const absolute = resolve(path)
  for (let directory = dirname(absolute); ; directory = dirname(directory)) {
    const found = facts(directory)
    if (found !== null) way.push(found)
    if (directory === dirname(directory)) break
  }
  return { way, end: facts(absolute), written }
}

const facts = (path: string): Fs.Stats | null => {
  try {
    return Fs.statSync(path)
  } catch {
    return null
  }
}

/** Of a plain file of a usual size. */
const textOf = (path: string): string => {
  const found = facts(path)
  return found?.isFile() === true && found.size <= maxFileLength ? Fs.readFileSync(path, "latin1") : ""
}

const PR_SET_NO_NEW_PRIVS = 38
const PR_CAPBSET_DROP = 24
const LINUX_CAPABILITY_VERSION_3 = 0x2008_0522
const headerLength = 8
const dataLength = 24
