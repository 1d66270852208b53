/**
 * The lab: a client, a gateway and a company LAN on one machine, each a host of its own. The demo tells its story in
 * it, and the system tests run in it.
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { CapturedPacket } from "./packets.ts"

/** The lab could not do it. `message` is one line: what failed, why and, where there is one, the fix. */
export class LabError extends Schema.TaggedError<LabError>()("LabError", { message: Schema.String }) {}

/**
 * `client` ── outer network ── `gateway` ── company network ── `lan` (name server and origins). In the wide-area lab the
 * outer network is `clientRouter` ── `internet` ── `gatewayRouter`; in the lab of a site it is `clientRouter` ── `internet`,
 * where `openClient` and two gateways are, both with a wire into the company network.
 */
export type LabHost = "client" | "gateway" | "lan" | WideHost | SiteHost

/** Hosts of the wide-area lab, two of which the lab of a site has as well. */
type WideHost = "clientRouter" | "internet" | "gatewayRouter"

/** Hosts of the lab of a site only. */
type SiteHost = "openClient" | "otherGateway"

/** One address per family. */
export interface Dual {
  readonly v4: string
  readonly v6: string
}

/** Devices are called `outer` and `inner` at both of their ends. */
export const labAddresses = {
  outer: {
    client: { v4: "192.0.2.2", v6: "fd5a:1::2" },
    gateway: { v4: "192.0.2.1", v6: "fd5a:1::1" }
  },
  inner: {
    network: { v4: "10.20.0.0/24", v6: "fd5a:20::/64" },
    gateway: { v4: "10.20.0.1", v6: "fd5a:20::1" },
    /** The company's name server. */
    dns: { v4: "10.20.0.53", v6: "fd5a:20::53" },
    /** Where `app.corp.internal` lives, and where it moves to. */
    origin: { v4: "10.20.0.10", v6: "fd5a:20::10" },
    otherOrigin: { v4: "10.20.0.20", v6: "fd5a:20::20" },
    /** An address of the LAN that no host has. */
    nobody: { v4: "10.20.0.99", v6: "fd5a:20::99" }
  },
  /** The wide-area lab: client and gateway each at home behind a router (device `outer`), the routers on one network. */
  wide: {
    client: { v4: "192.168.1.2", v6: "fd5a:11::2" },
    clientRouter: {
      home: { v4: "192.168.1.1", v6: "fd5a:11::1" },
      wide: { v4: "203.0.113.1", v6: "2001:db8:113::1" }
    },
    gateway: { v4: "192.168.2.2", v6: "fd5a:12::2" },
    gatewayRouter: {
      home: { v4: "192.168.2.1", v6: "fd5a:12::1" },
      wide: { v4: "203.0.113.2", v6: "2001:db8:113::2" }
    },
    portal: { v4: "203.0.113.10", v6: "2001:db8:113::10" },
    relay: { v4: "203.0.113.20", v6: "2001:db8:113::20" },
    otherRelay: { v4: "203.0.113.21", v6: "2001:db8:113::21" }
  },
  /** The lab of a site: gateways and a client on the network where the client's router is (`wide` has the rest). */
  site: {
    /** Of one gateway at a time, for whoever moves them: what clients dial, and the LAN's way to them. */
    virtual: { outer: "203.0.113.30", inner: "10.20.0.1" },
    gateway: {
      outer: { v4: "203.0.113.31", v6: "2001:db8:113::31" },
      inner: { v4: "10.20.0.2", v6: "fd5a:20::2" }
    },
    otherGateway: {
      outer: { v4: "203.0.113.32", v6: "2001:db8:113::32" },
      inner: { v4: "10.20.0.3", v6: "fd5a:20::3" }
    },
    openClient: { v4: "203.0.113.40", v6: "2001:db8:113::40" }
  }
} as const

/** Programs that the lab knows how to start; the rest of the command line is the caller's. */
export type LabProgram = "sallyport" | "broken-gateway" | "dns-server" | "origin" | "visitor" | "capture"

export interface CommandOptions {
  /** Default 10 seconds. */
  readonly timeout?: Duration.Input
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
}

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

type Run<A> = (host: LabHost, command: ReadonlyArray<string>, options?: CommandOptions) => Effect.Effect<A, LabError>

export interface LabProcess {
  readonly pid: number
  /** Lines of standard output, newest 10,000; ends with the stream. */
  readonly lines: Queue.Dequeue<string, Cause.Done>
  readonly send: (line: string) => Effect.Effect<void>
  /** The last lines of both outputs, for error messages and for tests that read logs. */
  readonly output: Effect.Effect<string>
  /** Waits for the end; 128 + signal number when a signal ended it. */
  readonly exit: Effect.Effect<number>
  /** SIGTERM, and SIGKILL after 5 seconds. */
  readonly stop: Effect.Effect<number>
  readonly kill: Effect.Effect<number>
}

/** What went over a host's wires, with the kernel's time stamps. */
export interface Capture {
  /** All packets so far, oldest first (the newest 100,000). */
  readonly packets: Effect.Effect<ReadonlyArray<CapturedPacket>>
  /** The first packet that satisfies the predicate, already seen or still to come; `null` after the time-out. */
  readonly first: (
    predicate: (packet: CapturedPacket) => boolean,
    options: { readonly timeout: Duration.Input }
  ) => Effect.Effect<CapturedPacket | null>
  /** Packets that the kernel could not hand over in time. */
  readonly lost: Effect.Effect<number>
}

export class Lab extends Context.Service<
  Lab,
  {
    /** Prefix of everything that the lab made, unique on this machine. */
    readonly id: string
    /** A private directory, removed with the lab. */
    readonly directory: string
    /** Name of the host's network namespace. */
    readonly namespace: (host: LabHost) => string
    readonly program: (name: LabProgram) => ReadonlyArray<string>
    /** Runs to the end; any exit code is a result. */
    readonly attempt: Run<CommandResult>
    /** Runs to the end and yields the standard output; another exit code than 0 is an error. */
    readonly exec: Run<string>
    /** Stopped when the scope closes. */
    readonly spawn: (
      host: LabHost,
      command: ReadonlyArray<string>,
      options?: Pick<CommandOptions, "env">
    ) => Effect.Effect<LabProcess, LabError, Scope.Scope>
    /** What the gateway at this control socket says of itself, in JSON. */
    readonly status: (socket: string) => Effect.Effect<string, LabError>
    /** Writes a file (mode 0600) into the lab's directory and yields its path. */
    readonly writeFile: (name: string, content: string) => Effect.Effect<string, LabError>
    /** Captures on all devices of the host, those yet to come too, or only on the named ones. */
    readonly capture: (
      host: LabHost,
      options?: { readonly devices?: ReadonlyArray<string> }
    ) => Effect.Effect<Capture, LabError, Scope.Scope>
    /** A fresh WireGuard key pair, base64. */
    readonly keyPair: Effect.Effect<{ readonly privateKey: string; readonly publicKey: string }>
  }
>()("sallyport/demo/Lab") {}
