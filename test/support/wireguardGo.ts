/** A foreign WireGuard: wireguard-go in one of the lab's hosts, set up with `wg` and `ip`. */
import { Effect, Schedule, Schema, type Scope } from "effect"
import { Lab, type LabError, type LabHost, type LabProcess } from "../../src/lab/demo/Lab.ts"

interface WireguardPeer {
  readonly publicKey: string
  readonly allowedIps: ReadonlyArray<string>
  readonly endpoint?: string
  readonly keepalive?: number
  readonly presharedKey?: string
}

export interface WireguardGoOptions {
  /** Default: the one in the path. */
  readonly program?: string
  readonly host: LabHost
  /** Unique on this machine: the control sockets share one directory. */
  readonly device: string
  readonly privateKey: string
  readonly addresses: ReadonlyArray<string>
  readonly routes: ReadonlyArray<string>
  readonly peers: ReadonlyArray<WireguardPeer>
  readonly listenPort?: number
  readonly mtu?: number
}

export class WireguardGoError extends Schema.TaggedError<WireguardGoError>()("WireguardGoError", {
  message: Schema.String
}) {}

export interface WireguardGo {
  readonly process: LabProcess
  readonly device: string
  /** Epoch seconds of the last handshake with the peer; 0 for none. */
  readonly latestHandshake: (publicKey: string) => Effect.Effect<number, LabError>
  readonly transferred: (
    publicKey: string
  ) => Effect.Effect<{ readonly received: number; readonly sent: number }, LabError>
  /** A change by `wg set DEVICE ...`. */
  readonly set: (parameters: ReadonlyArray<string>) => Effect.Effect<void, LabError>
}

/** Starts it in the foreground, configured and up; stopped by its id when the scope closes. */
export const startWireguardGo: (
  options: WireguardGoOptions
) => Effect.Effect<WireguardGo, LabError | WireguardGoError, Lab | Scope.Scope> = Effect.fnUntraced(
  function* (options) {
    const lab = yield* Lab
    const { device, host } = options
    const child = yield* launch(options).pipe(Effect.retry({ times: 2 }))
    const privateKey = yield* lab.writeFile(`${device}.key`, options.privateKey)
    yield* lab.exec(host, ["wg", "set", device, "private-key", privateKey])
    if (options.listenPort !== undefined) {
      yield* lab.exec(host, ["wg", "set", device, "listen-port", String(options.listenPort)])
    }
    for (const peer of options.peers) yield* addPeer(host, device, peer)
    yield* lab.exec(host, ["ip", "-batch", "-"], {
      input: [
        `link set ${device} mtu ${options.mtu ?? 1280} up`,
        ...options.addresses.map((address) => `address add ${address} dev ${device}`),
        ...options.routes.map((route) => `route replace ${route} dev ${device}`),
        ""
      ].join("\n")
    })
    const column = (field: string, publicKey: string) =>
      Effect.map(lab.exec(host, ["wg", "show", device, field]), (text) => {
        const row = text.split("\n").find((line) => line.startsWith(publicKey)) ?? ""
        return row.split("\t").slice(1).map(Number)
      })
    return {
      process: child,
      device,
      latestHandshake: (publicKey) => Effect.map(column("latest-handshakes", publicKey), ([at = 0]) => at),
      transferred: (publicKey) =>
        Effect.map(column("transfer", publicKey), ([received = 0, sent = 0]) => ({ received, sent })),
      set: (parameters) => Effect.asVoid(lab.exec(host, ["wg", "set", device, ...parameters]))
    }
  }
)

/**
 * Waits until the device and its control socket are there; `wg show` needs both. The directory of control sockets is
 * the whole machine's, and somebody else's end may take it away just when a socket is made: then it says so and ends.
 */
const launch = Effect.fnUntraced(function* ({ device, host, program }: WireguardGoOptions) {
  const lab = yield* Lab
  const child = yield* lab.spawn(host, [program ?? "wireguard-go", "--foreground", device], {
    env: { WG_PROCESS_FOREGROUND: "1", LOG_LEVEL: "error" }
  })
  const ended = Effect.gen(function* () {
    yield* child.exit
    return yield* new WireguardGoError({ message: `wireguard-go did not start: ${yield* child.output}` })
  })
  yield* lab
    .exec(host, ["wg", "show", device])
    .pipe(Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 250 }), Effect.raceFirst(ended))
  return child
})

const addPeer = Effect.fnUntraced(function* (host: LabHost, device: string, peer: WireguardPeer) {
  const lab = yield* Lab
  const psk =
    peer.presharedKey === undefined
      ? []
      : [
          "preshared-key",
          yield* lab.writeFile(`${device}-${peer.publicKey.slice(0, 6).replace(/\W/g, "_")}.psk`, peer.presharedKey)
        ]
  yield* lab.exec(host, [
    "wg",
    "set",
    device,
    "peer",
    peer.publicKey,
    ...psk,
    "allowed-ips",
    peer.allowedIps.join(","),
    ...(peer.endpoint === undefined ? [] : ["endpoint", peer.endpoint]),
    ...(peer.keepalive === undefined ? [] : ["persistent-keepalive", String(peer.keepalive)])
  ])
})
