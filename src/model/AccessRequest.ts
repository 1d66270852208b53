import * as Schema from "effect/Schema"
import type { Authorization } from "./Authorization.ts"

export interface IceCredentials {
  readonly username: string
  readonly password: string
}

/** A control plane asks for an authorization and, with a name, for a mapping. */
export interface AccessRequest extends Authorization {
  readonly name: {
    /** As the client wrote it; compared case-insensitively, echoed unchanged. */
    readonly domain: string
    /** `null`: none yet, the name is looked up all the same. */
    readonly proxyIps: ReadonlyArray<string> | null
    /**
     * The client numbers its names by itself: one of the proxy IPs standing for another name means that it has started
     * again, and nothing of before is true any more. Otherwise only that other name loses it.
     */
    readonly ownNumbers?: boolean
  } | null
  /** Credentials that the control plane chose for our side; `null`: the acceptor draws them. */
  readonly credentials: IceCredentials | null
  /** The client's credentials: the path to it is found by ICE. Absent: the connection, if there is one, stays as it is. */
  readonly remoteCredentials?: IceCredentials
}

/** A request that must not be granted; never caused by DNS. */
export class AccessRefused extends Schema.TaggedError<AccessRefused>()("AccessRefused", {
  reason: Schema.Literals([
    "Expired",
    "NotADnsResource",
    "DomainMismatch",
    "ProxyOutOfRange",
    "NoProxies",
    "TooManyMappings"
  ]),
  client: Schema.String,
  resource: Schema.String,
  domain: Schema.NullOr(Schema.String)
}) {}
