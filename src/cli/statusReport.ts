import * as Schema from "effect/Schema"

/** Of the document; another one for each change that a reader of the last one would misread. */
export const statusVersion = 2

const Millis = Schema.Finite
const Counters = Schema.Record(Schema.String, Schema.Finite)

const ClientRow = Schema.Struct({
  name: Schema.String,
  publicKey: Schema.String,
  tunnel4: Schema.String,
  tunnel6: Schema.String,
  /** It has a session, and was heard of within three keepalives. */
  connected: Schema.Boolean,
  /** `address:port`, IPv6 in brackets. */
  endpoint: Schema.NullOr(Schema.String),
  /** Where ICE chooses the path; `null`: it does not, or has none. */
  path: Schema.NullOr(Schema.Literals(["direct", "relayed"])),
  lastHandshakeAt: Schema.NullOr(Millis),
  /** The last authentic message from it, and the last packet either way. */
  lastHeardAt: Schema.optionalKey(Schema.NullOr(Millis)),
  lastActivityAt: Schema.optionalKey(Schema.NullOr(Millis)),
  /** Of WireGuard's datagrams from it and to it, since the gateway's start. */
  bytesIn: Schema.optionalKey(Schema.Finite),
  bytesOut: Schema.optionalKey(Schema.Finite),
  flows: Schema.optionalKey(Schema.Finite),
  /** Packets of it that went no further. */
  refused: Schema.optionalKey(Schema.Finite),
  /** Handshakes of it in a row that were answered, and no session came of them. */
  unusedAnswers: Schema.optionalKey(Schema.Finite),
  /** Which of the gateway's keys it has last proved to know; left out: none so far. */
  gatewayKey: Schema.optionalKey(Schema.Literals(["current", "ending", "gone"])),
  /** The client's clock was ahead: its last handshake was dated this long before an earlier one. */
  clockWasAheadMs: Schema.optionalKey(Millis),
  /** It is at another gateway of the site: the number of that one. */
  owner: Schema.optionalKey(Schema.Finite),
  /** Its key is in use at these places by turns; when it last went from one to the other. */
  twoPlaces: Schema.optionalKey(Schema.Struct({ endpoints: Schema.Array(Schema.String), at: Millis }))
})

const MappingRow = Schema.Struct({
  client: Schema.String,
  /** The most specific one that covers the name. */
  resource: Schema.String,
  /** All that do: what any of them lets through passes. */
  resources: Schema.Array(Schema.String),
  domain: Schema.String,
  resolver: Schema.String,
  proxyIps: Schema.Array(Schema.String),
  addresses: Schema.Array(Schema.String),
  state: Schema.Literals(["Resolving", "Resolved", "Stale", "Unresolved"]),
  /** Why there are no addresses, or why the last good ones could not be refreshed. */
  reason: Schema.NullOr(Schema.String),
  /** Since when the state is what it is. */
  since: Millis,
  nextTryAt: Schema.NullOr(Millis),
  lookups: Schema.Finite
})

const AuthorizationRow = Schema.Struct({
  client: Schema.String,
  resource: Schema.String,
  expiresAt: Schema.NullOr(Millis)
})

const Missing = Schema.NullOr(Schema.Struct({ why: Schema.String, since: Millis }))

/** The document of `sallyport status`. Times are epoch milliseconds; addresses canonical text. */
export const StatusReport = Schema.Struct({
  version: Schema.Literal(statusVersion),
  at: Millis,
  gateway: Schema.Struct({
    /** The one that clients are given. */
    publicKey: Schema.String,
    /** One that answers as well until a date, while the key is being rotated. */
    endingKey: Schema.optionalKey(Schema.Struct({ publicKey: Schema.String, endsAt: Millis })),
    endpoint: Schema.String,
    startedAt: Millis,
    /** How many packet workers have been started; above 1 means that it was restarted. */
    workerEpoch: Schema.Finite
  }),
  /** Where access requests come from. */
  controlPlane: Schema.Struct({
    kind: Schema.Literals(["file", "portal"]),
    connected: Schema.Boolean,
    detail: Schema.String,
    /** Addresses left out of DNS answers, since the client that asked cannot reach them. */
    filtered: Schema.optionalKey(
      Schema.Struct({
        count: Schema.Finite,
        last: Schema.NullOr(
          Schema.Struct({
            client: Schema.String,
            name: Schema.String,
            address: Schema.String,
            why: Schema.String,
            at: Millis
          })
        )
      })
    )
  }),
  /** The gateways that share its names; left out: it is alone. */
  site: Schema.optionalKey(
    Schema.Struct({
      /** What the site is called, where there are several. */
      name: Schema.optionalKey(Schema.String),
      /** The number of this one; `null`: it has not been there yet, and gives no proxy IPs. */
      gateway: Schema.NullOr(Schema.Finite),
      postgres: Schema.Struct({
        /** The host that is written to; `null`: none is reached. */
        server: Schema.NullOr(Schema.String),
        since: Millis,
        /** Why none is reached, with the fix. */
        wrong: Schema.NullOr(Schema.String),
        /** How far this gateway's clock is ahead of PostgreSQL's, in milliseconds, as of the last meeting; left out: not known. */
        clockAheadMs: Schema.optionalKey(Schema.Finite)
      }),
      /** When all that the others told was read last; `null`: never yet. */
      readAt: Schema.NullOr(Millis),
      /** Until when that is relied on, should nothing more be read. */
      reliedUntil: Schema.NullOr(Millis),
      /** Names, and ends of them, that are still to be told. */
      untold: Schema.Finite,
      /** Slots of a client that are this gateway's to give, and how many of them were set aside for the client with the most. */
      slots: Schema.Struct({ own: Schema.Finite, used: Schema.Finite }),
      /** Clients, resources and names that all gateways go by. A gateway that has not been restarted since says nothing. */
      policy: Schema.optionalKey(
        Schema.Struct({
          /** Its version, who applied it and when; `null`: the gateway's own file counts. */
          inForce: Schema.NullOr(Schema.Struct({ version: Schema.Finite, by: Schema.String, at: Millis })),
          /** Why the site's newest one does not count here, with the fix. */
          refused: Schema.NullOr(Schema.Struct({ why: Schema.String, since: Millis }))
        })
      ),
      /** Whether it has the site's virtual address, in VRRP's words, since it was told; left out: nobody has said anything. */
      virtualAddress: Schema.optionalKey(Schema.Struct({ state: Schema.String, since: Millis })),
      /** It gives its clients away, and whether all that live know, so that the address may move; left out: it does not. */
      draining: Schema.optionalKey(Schema.Struct({ since: Millis, mayMove: Schema.Boolean, clients: Schema.Finite })),
      /** All of its site that have been heard of, by number; as it was last known, while PostgreSQL is away. */
      gateways: Schema.Array(
        Schema.Struct({
          gateway: Schema.Finite,
          /** It is this one. */
          own: Schema.Boolean,
          /** It was heard of within 3 s. */
          alive: Schema.Boolean,
          heardAt: Millis,
          /** With a session there. */
          clients: Schema.Finite,
          /** It says that it has the virtual address. */
          master: Schema.Boolean,
          /** It gives its clients away. */
          draining: Schema.Boolean,
          /** What it says of itself; left out: nothing that is known. */
          about: Schema.optionalKey(
            Schema.Struct({
              version: Schema.String,
              host: Schema.String,
              /** The version of the site's policy that it goes by; `null`: its own file's. */
              policy: Schema.NullOr(Schema.Finite),
              /** When it last read all that the others told. */
              readAt: Schema.NullOr(Millis)
            })
          )
        })
      )
    })
  ),
  /** Where metrics, health and dashboard are served, and why they are not; `null`: they are not meant to be. */
  http: Schema.optionalKey(Schema.NullOr(Schema.Struct({ at: Schema.String, wrong: Missing }))),
  /** How the host has kept to what the gateway set up on it; what was put right since the start, and what cannot be. */
  host: Schema.optionalKey(
    Schema.Struct({
      repaired: Schema.Finite,
      last: Schema.NullOr(Schema.Struct({ at: Millis, what: Schema.Array(Schema.String) })),
      /** Each with cause and fix. */
      wrong: Schema.NullOr(Schema.Struct({ since: Millis, what: Schema.Array(Schema.String) }))
    })
  ),
  /** What the host lacks of IPv6; `null`: nothing is known to be missing. */
  ipv6: Schema.optionalKey(Schema.Struct({ sockets: Missing, device: Missing, wayOut: Missing })),
  /** Parts of the gateway's ranges that the host uses for something else; clients with addresses there get no replies. */
  foreignNetworks: Schema.optionalKey(
    Schema.Array(Schema.Struct({ network: Schema.String, who: Schema.String, clients: Schema.Array(Schema.String) }))
  ),
  /** What others on the host take away of the gateway's own traffic just now, the oldest first. */
  firewall: Schema.optionalKey(
    Schema.Struct({
      /** `false`: nothing is counted, as the gateway has no firewall table. */
      judged: Schema.Boolean,
      /** Why it cannot be counted just now, with the fix. */
      uncounted: Schema.optionalKey(Schema.NullOr(Schema.String)),
      lost: Schema.Array(
        Schema.Struct({
          what: Schema.String,
          since: Millis,
          /** When the last of them was missed. */
          latest: Millis,
          packets: Schema.Finite,
          likely: Schema.String,
          fix: Schema.String
        })
      )
    })
  ),
  /** Servers that names were looked up at, as they have shown themselves. */
  dnsServers: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        server: Schema.String,
        answeredAt: Schema.NullOr(Millis),
        silentSince: Schema.NullOr(Millis),
        /** Smoothed. */
        latencyMs: Schema.NullOr(Schema.Finite),
        oddities: Schema.Array(Schema.String)
      })
    )
  ),
  clients: Schema.Array(ClientRow),
  mappings: Schema.Array(MappingRow),
  authorizations: Schema.Array(AuthorizationRow),
  /** Devices that know this gateway's public key, but have none that it knows, the latest first. Nothing proves theirs. */
  unknownDevices: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        publicKey: Schema.String,
        /** `address:port`, IPv6 in brackets. */
        endpoint: Schema.String,
        handshakes: Schema.Finite,
        since: Millis,
        latest: Millis
      })
    )
  ),
  /** Real addresses of names that leave flows of TCP and ping without any reply, the most tried first. */
  silentAddresses: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        domain: Schema.String,
        resolver: Schema.String,
        address: Schema.String,
        /** Of the first flow without a reply, and how many there were since. */
        since: Millis,
        tries: Schema.Finite,
        clients: Schema.Array(Schema.String),
        /** To one of those clients; `null`: none is remembered. */
        lastReplyAt: Schema.NullOr(Millis)
      })
    )
  ),
  /** What the file gives nobody any more, as its time has passed. */
  expired: Schema.optionalKey(Schema.Array(AuthorizationRow)),
  /** Rows that did not fit. */
  omitted: Schema.Struct({ mappings: Schema.Finite, authorizations: Schema.Finite }),
  counters: Schema.Struct({
    controlPlane: Counters,
    dataPlane: Counters,
    resolutions: Counters,
    dns: Counters,
    upstream: Schema.optionalKey(Counters),
    host: Schema.optionalKey(Counters),
    /** Bugs that the gateway has met and outlived, by loop. A gateway that has not been restarted since says nothing. */
    defects: Schema.optionalKey(Counters)
  })
})
export type StatusReport = typeof StatusReport.Type
