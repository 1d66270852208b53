/** The company on the lab's LAN, and the visitor on the client: what the story's characters can be asked to do. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { startHelper } from "./Helper.ts"
import { type Lab, labAddresses, type LabError, type LabHost } from "./Lab.ts"

/** How the name server behaves: `silent` reads and says nothing, `closed` has no socket. */
type DnsMode = "answer" | "silent" | "closed" | "servfail" | "refused"

export interface NameServer {
  /** Applies any of the changes and then, with `mark`, leaves a datagram with that text on the LAN's own wire. */
  readonly set: (change: {
    readonly mode?: DnsMode
    readonly delay?: number
    readonly name?: string
    readonly a?: ReadonlyArray<string>
    readonly aaaa?: ReadonlyArray<string>
    readonly ttl?: number
    /** That one name is not answered. */
    readonly silent?: boolean
    readonly mark?: string
  }) => Effect.Effect<void, LabError>
  readonly remove: (name: string) => Effect.Effect<void, LabError>
  /** Queries seen since the start: `"app.corp.internal 1"` → count. */
  readonly queries: Effect.Effect<Readonly<Record<string, number>>, LabError>
}

export const startNameServer: Effect.Effect<NameServer, LabError, Lab | Scope.Scope> = Effect.gen(function* () {
  const { dns, origin } = labAddresses.inner
  const helper = yield* startHelper("lan", "dns-server", [dns.v4, dns.v6])
  return {
    set: (change) => helper.call("set", { ...change, to: origin.v4 }, Schema.Null),
    remove: (name) => helper.call("remove", { name }, Schema.Null),
    queries: helper.call("queries", {}, Schema.Record(Schema.String, Schema.Finite))
  }
})

export interface Origins {
  /** HTTP at this address refuses from now on; open connections are cut. */
  readonly close: (address: string) => Effect.Effect<void, LabError>
  readonly open: (address: string) => Effect.Effect<void, LabError>
}

export const startOrigins: Effect.Effect<Origins, LabError, Lab | Scope.Scope> = Effect.gen(function* () {
  const { origin, otherOrigin } = labAddresses.inner
  const helper = yield* startHelper("lan", "origin", [origin.v4, origin.v6, otherOrigin.v4, otherOrigin.v6])
  return {
    close: (address) => helper.call("close", { address }, Schema.Null),
    open: (address) => helper.call("open", { address }, Schema.Null)
  }
})

const Page = Schema.Struct({
  status: Schema.Finite,
  servedBy: Schema.String,
  bytes: Schema.Finite,
  sha256: Schema.String,
  /** What the server says the checksum is; `null` where it says nothing. */
  expected: Schema.NullOr(Schema.String),
  text: Schema.String
})
export type Page = typeof Page.Type

const Answer = Schema.Struct({
  id: Schema.Finite,
  answered: Schema.Boolean,
  rcode: Schema.optionalKey(Schema.Finite),
  addresses: Schema.optionalKey(Schema.Array(Schema.String))
})
const Connected = Schema.Struct({
  ok: Schema.Boolean,
  code: Schema.optionalKey(Schema.String),
  localPort: Schema.optionalKey(Schema.Finite)
})
const Retried = Schema.Struct({
  tries: Schema.Finite,
  errors: Schema.Record(Schema.String, Schema.Finite),
  page: Schema.NullOr(Page)
})
const Uploaded = Schema.Struct({ bytes: Schema.Finite, sha256: Schema.String, sent: Schema.String })
const DripState = Schema.Struct({
  lines: Schema.Finite,
  last: Schema.NullOr(Schema.String),
  ended: Schema.NullOr(Schema.String)
})
const Echoed = Schema.Struct({ sent: Schema.Finite, received: Schema.Finite })

export interface Visitor {
  /** One query, one wait of `timeout` ms; the DNS id pairs it with captured packets. */
  readonly resolve: (query: {
    readonly server: string
    readonly name: string
    readonly type: "A" | "AAAA"
    readonly timeout?: number
  }) => Effect.Effect<typeof Answer.Type, LabError>
  readonly connect: (to: {
    readonly address: string
    readonly port?: number
    readonly timeout?: number
  }) => Effect.Effect<typeof Connected.Type, LabError>
  readonly get: (page: {
    readonly address: string
    readonly port?: number
    readonly path?: string
    readonly timeout?: number
    readonly localPort?: number
  }) => Effect.Effect<Page, LabError>
  /** A try every `every` ms, each on a new connection, until a page comes (from `servedBy`) or `deadline` ms are over. */
  readonly retry: (page: {
    readonly address: string
    readonly port?: number
    readonly every: number
    readonly deadline: number
    readonly servedBy?: string
  }) => Effect.Effect<typeof Retried.Type, LabError>
  readonly upload: (to: {
    readonly address: string
    readonly bytes: number
    readonly timeout?: number
  }) => Effect.Effect<typeof Uploaded.Type, LabError>
  /** Begins an upload of ten lines a second, which goes on until it is closed. */
  readonly openUpload: (id: string, address: string) => Effect.Effect<void, LabError>
  /** What has arrived of it, once all has. */
  readonly closeUpload: (id: string) => Effect.Effect<typeof Uploaded.Type, LabError>
  /** Opens an endless page, ten lines a second. */
  readonly openDrip: (
    id: string,
    address: string,
    options?: { readonly port?: number; readonly localPort?: number }
  ) => Effect.Effect<void, LabError>
  readonly readDrip: (id: string) => Effect.Effect<typeof DripState.Type, LabError>
  readonly closeDrip: (id: string) => Effect.Effect<void, LabError>
  /** Datagrams to a UDP echo port: how many came back unchanged. */
  readonly echo: (to: {
    readonly address: string
    readonly count: number
    readonly size?: number
    readonly port?: number
    readonly timeout?: number
  }) => Effect.Effect<typeof Echoed.Type, LabError>
}

export const startVisitor = (host: LabHost = "client"): Effect.Effect<Visitor, LabError, Lab | Scope.Scope> =>
  Effect.map(startHelper(host, "visitor"), (helper) => ({
    resolve: (query) => helper.call("resolve", query, Answer),
    connect: (to) => helper.call("connect", to, Connected),
    get: (page) => helper.call("get", page, Page, "2 minutes"),
    retry: (page) => helper.call("retry", page, Retried, page.deadline + 10_000),
    upload: (to) => helper.call("upload", to, Uploaded, "2 minutes"),
    openUpload: (id, address) => Effect.asVoid(helper.call("openUpload", { id, address }, Schema.Unknown)),
    closeUpload: (id) => helper.call("closeUpload", { id }, Uploaded, "2 minutes"),
    openDrip: (id, address, options) => Effect.asVoid(helper.call("drip", { id, address, ...options }, Schema.Unknown)),
    readDrip: (id) => helper.call("readDrip", { id }, DripState),
    closeDrip: (id) => Effect.asVoid(helper.call("closeDrip", { id }, Schema.Unknown)),
    echo: (to) => helper.call("echo", to, Echoed)
  }))
