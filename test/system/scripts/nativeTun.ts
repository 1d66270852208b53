/**
 * Runs inside a network namespace and prints one JSON value: what happened in the named scenario. A program of its own,
 * since a Node process cannot move into a namespace.
 */
import { execFile, execFileSync } from "node:child_process"
import { close, openEventFd, openTun } from "../../../layers/native/fds.ts"
import { makeMemory } from "../../../layers/native/memory.ts"
import { NativeError } from "../../../layers/native/nativeError.ts"
import { makePacketIo } from "../../../layers/native/packetIo.ts"

const run = (command: string, ...args: ReadonlyArray<string>): string =>
  execFileSync(command, args, { encoding: "utf8", timeout: 10_000 })

const memory = makeMemory(1)
const bytes = memory.arena.bytes
const at = memory.arena.reserve(4096)

const opened = (name: string) => {
  const tun = openTun(name, { vnetHeader: false })
  if (tun instanceof NativeError) throw new Error(tun.message)
  const event = openEventFd()
  if (event instanceof NativeError) throw new Error(event.message)
  return { ...tun, io: makePacketIo({ memory, tun: tun.fd, udp4: -1, udp6: -1, event }) }
}

const up = (name: string): void => {
  run("ip", "address", "add", "10.9.0.1/24", "dev", name)
  run("ip", "link", "set", name, "up")
}

/** Turns the IPv4 echo request in the arena into its reply: addresses swapped, type 8 → 0 (checksum + 0x0800). */
const answer = (): void => {
  for (let i = 0; i < 4; i++) {
    const source = bytes[at + 12 + i]!
    bytes[at + 12 + i] = bytes[at + 16 + i]!
    bytes[at + 16 + i] = source
  }
  bytes[at + 20] = 0
  const sum = ((bytes[at + 22]! << 8) | bytes[at + 23]!) + 0x0800
  const folded = (sum & 0xffff) + (sum >>> 16)
  bytes[at + 22] = folded >>> 8
  bytes[at + 23] = folded & 0xff
}

const scenarios: Record<string, () => unknown> = {
  /** Answers pings to 10.9.0.2 until three were answered. */
  echo: async () => {
    const { fd, io, name } = opened("specho%d")
    up(name)
    const pinged = new Promise<string>((resolve) => {
      execFile("ping", ["-c", "3", "-i", "0.1", "-W", "2", "10.9.0.2"], { timeout: 10_000 }, (_, stdout) =>
        resolve(stdout)
      )
    })
    let answered = 0
    let emptyAfterAll = -1
    while (answered < 3) {
      io.poll(20)
      for (;;) {
        const length = io.readTun(at, 2048)
        if (length === 0) break
        if (bytes[at]! >>> 4 !== 4 || bytes[at + 9] !== 1 || bytes[at + 20] !== 8) continue
        answer()
        if (io.writeTun(at, length)) answered++
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
    emptyAfterAll = io.readTun(at, 2048)
    const output = await pinged
    close(fd)
    return {
      name,
      emptyAfterAll,
      lost: /(\d+)% packet loss/.exec(output)?.[1],
      gone: !run("ip", "link").includes(name)
    }
  },
  /** Opens the same device twice, then one whose name a bridge has. */
  taken: () => {
    opened("spsame0")
    const again = openTun("spsame0", { vnetHeader: false })
    run("ip", "link", "add", "spbridge0", "type", "bridge")
    const bridge = openTun("spbridge0", { vnetHeader: false })
    return [again, bridge]
  },
  /** Writes while the device is down, writes junk, then deletes the device under the descriptor. */
  broken: () => {
    const { io, name } = opened("spbroken0")
    bytes[at] = 0x45
    const down = io.writeTun(at, 40)
    up(name)
    bytes[at] = 0xf5
    const junk = io.writeTun(at, 40)
    while (io.readTun(at, 2048) > 0);
    const before = io.fault()
    run("ip", "link", "delete", name)
    const ready = io.poll(1000)
    return { down, junk, before, ready, fault: io.fault(), idle: io.poll(10), drops: io.drops }
  },
  open: () => openTun("spopen0", { vnetHeader: false })
}

process.stdout.write(JSON.stringify(await scenarios[process.argv[2]!]!()))
