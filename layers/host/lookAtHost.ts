/** What `doctor` asks the host. Nothing is changed, and each look is given up after a while. */
import * as fs from "node:fs"
import { access, statfs } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import * as Effect from "effect/Effect"
import type { Examined, HostFacts, Look, ToolFact } from "../../src/cli/doctorFacts.ts"
import { HostError, type HostPlan } from "../../src/host/HostNetwork.ts"
import { globalForwarding } from "../../src/host/hostPlan.ts"
import { isTaken, type Listener, listenersOf } from "../../src/host/listeners.ts"
import { describePath } from "../../src/host/pathTrouble.ts"
import { isClockSynchronized } from "../dataplane/native/clockSync.ts"
import { serverError, tunError, udpError } from "../dataplane/native/nativeError.ts"
import { connectionTable } from "./connectionTable.ts"
import { takersOf } from "./foreignFirewall.ts"
import { listRoutes, overlapsOf, ownAddresses } from "./hostAddresses.ts"
import { runCommand } from "./hostCommand.ts"
import { explain } from "./hostErrors.ts"
import { sysctlTrouble } from "./hostSysctl.ts"
import { readText } from "./readText.ts"
import { explainState } from "./stateErrors.ts"

/** Longer than `ip` and `nft` take on a busy host with many rules. */
const patienceMs = 5_000

/** Looks at everything side by side. */
export const lookAtHost = Effect.fnUntraced(function* ({
  listenHttp,
  plan,
  stateDir
}: Examined): Effect.fn.Return<HostFacts> {
  const udp = yield* Effect.cached(listeners("udp"))
  const tcp = yield* Effect.cached(listeners("tcp"))
  return yield* Effect.all(
    {
      tools: Effect.forEach(plan.firewall === "off" ? [ip] : [ip, nft], tool, { concurrency: "unbounded" }),
      tun: look(Effect.suspend(() => tun(plan.device))),
      portTaken: look(
        Effect.map(udp, (all) =>
          all.some(({ port }) => port === plan.listenPort)
            ? udpError("bind", "EADDRINUSE", 4, plan.listenPort).message
            : null
        )
      ),
      dnsTaken: look(Effect.map(Effect.all({ udp, tcp }), dnsTaken(plan))),
      deviceTaken: look(Effect.sync(() => deviceTaken(plan.device))),
      httpTaken: look(Effect.map(tcp, (all) => listenHttp !== null && isTaken(all, listenHttp))),
      clock: look(Effect.sync(() => ({ synchronized: isClockSynchronized(), aheadMs: writtenAhead(stateDir) }))),
      forwarding: look(Effect.suspend(forwarding)),
      conntrack: look(Effect.sync(connectionTable)),
      overlaps: look(overlapsOf(plan, fs.existsSync("/proc/net/if_inet6"))),
      firewall: look(
        Effect.map(takersOf(plan), (takers) =>
          takers.map(({ blame, paths }) => ({ blame, what: paths.map(describePath) }))
        )
      ),
      uplinks: look(uplinks(plan.device)),
      ownAddresses: look(ownAddresses),
      disk: look(disk(stateDir))
    },
    { concurrency: "unbounded" }
  )
})

const look = <A>(probe: Effect.Effect<A, { readonly message: string }>): Effect.Effect<Look<A>> =>
  probe.pipe(
    Effect.map((found): Look<A> => ({ found })),
    Effect.timeoutOrElse({
      duration: patienceMs,
      orElse: () => Effect.succeed<Look<A>>({ unseen: `it took longer than ${patienceMs / 1_000} s` })
    }),
    Effect.catch(({ message }) => Effect.succeed<Look<A>>({ unseen: message })),
    Effect.catchDefect((defect) => Effect.succeed<Look<A>>({ unseen: String(defect).split("\n", 1)[0]! }))
  )

const unseen = (message: string): Effect.Effect<never, HostError> => Effect.fail(new HostError({ message }))

const ip = { name: "ip", flag: "-V" }
const nft = { name: "nft", flag: "-v" }

const tool = ({ flag, name }: typeof ip): Effect.Effect<ToolFact> =>
  runCommand(name, [flag], { timeoutMs: patienceMs }).pipe(
    Effect.mapError(explain(`use ${name}`)),
    Effect.match({
      onFailure: ({ message }) => ({ name, version: null, problem: message }),
      onSuccess: (text) => ({ name, version: text.split("\n", 1)[0]!, problem: null })
    })
  )

/** Opened without a name it makes no device. */
const tun = (device: string): Effect.Effect<string | null, HostError> => {
  try {
    fs.closeSync(fs.openSync("/dev/net/tun", fs.constants.O_RDWR | fs.constants.O_NONBLOCK))
    return Effect.succeed(null)
  } catch (cause) {
    const { message } = tunError("open", codeOf(cause), device)
    return isDenied(cause) ? unseen(message) : Effect.succeed(message)
  }
}

/** A device without anybody at its other end is taken over. */
const deviceTaken = (device: string): string | null => {
  const path = `/sys/class/net/${device}`
  if (!fs.existsSync(path)) return null
  if (!fs.existsSync(`${path}/tun_flags`)) return tunError("ioctl", "EINVAL", device).message
  return readText(`${path}/carrier`) === "1" ? tunError("ioctl", "EBUSY", device).message : null
}

const listeners = (protocol: "udp" | "tcp") =>
  Effect.suspend(() => {
    const table = readText(`/proc/net/${protocol}`)
    if (table === undefined) return unseen(`/proc/net/${protocol} cannot be read`)
    return Effect.succeed([...listenersOf(table), ...listenersOf(readText(`/proc/net/${protocol}6`) ?? "")])
  })

/** Tying ours to the device leaves no room beside a socket that is tied to none. */
const dnsTaken =
  ({ dnsPort, gateway4, gateway6 }: HostPlan) =>
  (all: Readonly<Record<"udp" | "tcp", ReadonlyArray<Listener>>>): string | null => {
    for (const transport of ["udp", "tcp"] as const) {
      for (const host of [gateway4, gateway6]) {
        if (!isTaken(all[transport], { host, port: dnsPort })) continue
        return serverError("bind", "EADDRINUSE", transport, host, dnsPort).message
      }
    }
    return null
  }

const forwarding = (): Effect.Effect<Readonly<Record<4 | 6, string | null>>, HostError> => {
  const problems = { 4: sysctlTrouble(globalForwarding[4]), 6: sysctlTrouble(globalForwarding[6]) }
  return process.getuid?.() === 0 || (problems[4] ?? problems[6]) === null
    ? Effect.succeed(problems)
    : unseen("it is off, and only root can tell whether it could be switched on")
}

/** How far in the future the state was written last, in milliseconds. */
const writtenAhead = (stateDir: string): number => {
  let ahead = 0
  for (const name of ["state.db", "state.db-wal"]) {
    try {
      ahead = Math.max(ahead, fs.statSync(join(stateDir, name)).mtimeMs - Date.now())
    } catch {
      // There is none yet, or none for this user to see.
    }
  }
  return ahead
}

/** Devices of the default routes, the gateway's own aside. */
const uplinks = Effect.fnUntraced(function* (own: string) {
  const v4 = yield* listRoutes("-4", "default")
  // A host without IPv6 has nothing to say about it.
  const v6 = yield* listRoutes("-6", "default").pipe(Effect.orElseSucceed(() => []))
  const devices = new Set([...v4, ...v6].flatMap(({ dev }) => (dev === undefined || dev === own ? [] : [dev])))
  return [...devices].flatMap((device) => {
    const mtu = Number(readText(`/sys/class/net/${device}/mtu`))
    return Number.isInteger(mtu) ? [{ device, mtu }] : []
  })
})

/** Of the directory, or where it would be made. */
const disk = (stateDir: string) =>
  Effect.tryPromise({
    try: async () => {
      let at = resolve(stateDir)
      while (!fs.existsSync(at) && at !== dirname(at)) at = dirname(at)
      await access(at, fs.constants.W_OK | fs.constants.X_OK)
      const { bavail, bsize } = await statfs(at)
      return { problem: null, free: bavail * bsize }
    },
    catch: (cause) => ({ denied: isDenied(cause), message: explainState(stateDir, "write", cause).message })
  }).pipe(
    Effect.catch(({ denied, message }) => (denied ? unseen(message) : Effect.succeed({ problem: message, free: 0 })))
  )

const codeOf = (cause: unknown): string => (cause as NodeJS.ErrnoException).code ?? "an unknown error"

/** To this user, which need not be the gateway's. */
const isDenied = (cause: unknown): boolean =>
  process.getuid?.() !== 0 && (codeOf(cause) === "EACCES" || codeOf(cause) === "EPERM")
