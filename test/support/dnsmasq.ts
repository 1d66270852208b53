/** A foreign name server: dnsmasq on the lab's LAN. */
import { Effect, Schedule, type Scope } from "effect"
import { Lab, labAddresses, type LabError, type LabProcess } from "../../src/lab/demo/Lab.ts"

/** Starts it with these names, and yields when it answers. Stopped with the scope, or earlier by its process. */
export const startDnsmasq: (options: {
  readonly names: Readonly<Record<string, ReadonlyArray<string>>>
  /** Seconds. */
  readonly ttl?: number
  /** More lines of its configuration (`cname=…`, `srv-host=…`). */
  readonly more?: ReadonlyArray<string>
}) => Effect.Effect<LabProcess, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (options) {
  const lab = yield* Lab
  const { dns } = labAddresses.inner
  const file = yield* lab.writeFile(
    "dnsmasq.conf",
    [
      "no-resolv",
      "no-hosts",
      "bind-interfaces",
      "user=root",
      `listen-address=${dns.v4}`,
      `listen-address=${dns.v6}`,
      `local-ttl=${options.ttl ?? 5}`,
      "neg-ttl=1",
      "local=/corp.internal/",
      ...Object.entries(options.names).map(([name, addresses]) => `host-record=${name},${addresses.join(",")}`),
      ...(options.more ?? []),
      ""
    ].join("\n")
  )
  const child = yield* lab.spawn("lan", ["dnsmasq", "--keep-in-foreground", `--conf-file=${file}`, "--pid-file"])
  yield* lab
    .exec("lan", ["dig", `@${dns.v4}`, "+time=1", "+tries=1", "version.bind", "chaos", "txt"])
    .pipe(Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 100 }))
  return child
})
