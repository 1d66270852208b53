/** Name servers on the lab's LAN: nsd with zones of its own, unbound in front of another server, the scripted one. */
import { fileURLToPath } from "node:url"
import { Effect, Queue, Schedule, type Scope } from "effect"
import { Lab, type LabError, type LabHost, type LabProcess } from "../../src/lab/demo/Lab.ts"
import type { DnsZone } from "./dnsServer.ts"

/** Starts one and yields when it answers at `address`. Stopped with the scope, or earlier by its process. */
export const startNameServerProgram: (options: {
  readonly host: LabHost
  readonly address: string
  readonly command: ReadonlyArray<string>
}) => Effect.Effect<LabProcess, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* ({
  address,
  command,
  host
}) {
  const lab = yield* Lab
  const child = yield* lab.spawn(host, command)
  yield* lab
    .exec(host, ["dig", `@${address}`, "+time=1", "+tries=1", "version.bind", "chaos", "txt"])
    .pipe(Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 100 }))
  return child
})

/** nsd, authoritative for these zones only: lines of a zone file below an SOA with a negative TTL of 5 s, or whole files. */
export const startNsd: (options: {
  readonly address: string
  readonly zones: Readonly<Record<string, ReadonlyArray<string>>>
  readonly files?: Readonly<Record<string, string>>
}) => Effect.Effect<LabProcess, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* ({ address, files, zones }) {
  const lab = yield* Lab
  const name = `nsd-${address}`
  const written = yield* Effect.forEach(Object.entries(zones), ([zone, lines]) =>
    Effect.map(
      lab.writeFile(
        `${name}-${zone}.zone`,
        [
          `$ORIGIN ${zone}.`,
          "$TTL 60",
          "@ SOA ns hostmaster 1 3600 600 86400 5",
          "@ NS ns",
          `ns A ${address}`,
          ...lines,
          ""
        ].join("\n")
      ),
      (file) => [zone, file] as const
    )
  )
  const parts = [...written, ...Object.entries(files ?? {})].map(
    ([zone, file]) => `zone:\n  name: ${zone}\n  zonefile: ${file}`
  )
  const at = (file: string) => `${lab.directory}/${name}-${file}`
  const config = yield* lab.writeFile(
    `${name}.conf`,
    `server:
  ip-address: ${address}
  username: ""
  chroot: ""
  pidfile: ""
  zonesdir: ${lab.directory}
  xfrdfile: ${at("xfrd.state")}
  zonelistfile: ${at("zone.list")}
  xfrdir: ${lab.directory}
  rrl-ratelimit: 0
remote-control:
  control-enable: no
${parts.join("\n")}
`
  )
  return yield* startNameServerProgram({ host: "lan", address, command: ["nsd", "-d", "-c", config] })
})

/** unbound at `address`, on any host, asking the server at `upstream` everything. */
export const startUnbound: (options: {
  readonly host: LabHost
  readonly address: string
  readonly upstream: string
  /** More lines of its `server:` clause. */
  readonly server?: ReadonlyArray<string>
}) => Effect.Effect<LabProcess, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (options) {
  const { address, host, server = ['module-config: "iterator"'], upstream } = options
  const lab = yield* Lab
  const config = yield* lab.writeFile(
    `unbound-${host}-${address}.conf`,
    `server:
  interface: ${address}
  access-control: 0.0.0.0/0 allow
  username: ""
  chroot: ""
  pidfile: ""
  directory: ${lab.directory}
  use-syslog: no
  do-daemonize: no
${server.map((line) => `  ${line}`).join("\n")}
forward-zone:
  name: "."
  forward-addr: ${upstream}
remote-control:
  control-enable: no
`
  )
  return yield* startNameServerProgram({ host, address, command: ["unbound", "-d", "-c", config] })
})

/** The scripted server; `set` yields when it answers from the new zone. */
export const startScripted = Effect.fnUntraced(function* (address: string, zone: DnsZone) {
  const lab = yield* Lab
  const write = (next: DnsZone) => lab.writeFile(`scripted-${address}.json`, JSON.stringify(next))
  const path = fileURLToPath(new URL("./dnsServerMain.ts", import.meta.url))
  const child = yield* lab.spawn("lan", [
    process.execPath,
    path,
    "--listen",
    `${address}:53`,
    "--zone",
    yield* write(zone)
  ])
  const says = (start: string) =>
    Queue.take(child.lines).pipe(
      Effect.repeat({ until: (line) => line.startsWith(start) }),
      Effect.timeout("20 seconds"),
      Effect.catch(() => Effect.flatMap(child.output, (text) => Effect.die(new Error(`no ${start}: ${text}`))))
    )
  yield* says("listening")
  return { set: (next: DnsZone) => Effect.andThen(write(next), says("zone")) }
})
