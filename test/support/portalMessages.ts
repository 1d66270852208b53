/** The portal's messages as they stand on the wire. */
import { key } from "../config/fixtures.ts"

export { key }

export const uuid = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`

export const dnsResource = (id = 10, over: object = {}) => ({
  type: "dns",
  id: uuid(id),
  name: "Apps",
  address: "*.corp.example",
  filters: [],
  ...over
})

export const cidrResource = (id = 11, over: object = {}) => ({
  type: "cidr",
  id: uuid(id),
  name: "Net",
  address: "10.20.0.0/16",
  filters: [],
  ...over
})

export const turn = (id: number, addr: string, over: object = {}) => ({
  id: uuid(id),
  type: "turn",
  addr,
  username: "1893456000:salt",
  password: "cGFzc3dvcmQ",
  expires_at: 1_893_456_000,
  ...over
})

export const relays = [turn(20, "192.0.2.1:3478"), turn(20, "[2001:db8::1]:3478")]

export const init = (over: object = {}) => ({
  interface: { ipv4: "100.64.0.1", ipv6: "fd00:2021:1111::1" },
  config: { ipv4_masquerade_enabled: true, ipv6_masquerade_enabled: true },
  relays,
  account_slug: "acme",
  ...over
})

export const ice = (side: string) => ({ username: `uf${side}x`, password: `password-of-side-${side}-00000` })

export const authorizeFlow = (client = 1, over: object = {}) => ({
  ref: `ref-${client}`,
  flow_id: uuid(500),
  actor: { id: uuid(501) },
  resource: dnsResource(),
  client: {
    id: uuid(client),
    public_key: key(client),
    preshared_key: key(100 + client),
    ipv4: `100.64.1.${client}`,
    ipv6: `fd00:2021:1111::1:${client}`,
    version: "1.4.4",
    device_serial: null
  },
  client_ice_credentials: ice("c"),
  gateway_ice_credentials: ice("g"),
  subject: { actor_name: "Ada", actor_email: null },
  expires_at: 1_893_456_000,
  ...over
})

export const createAuthorization = (client = 1, over: object = {}) =>
  authorizeFlow(client, { use_iceless: false, flow_logs_ingest_token: "e30.e30.sig", ...over })

export const requestConnection = (client = 1, over: object = {}) => ({
  ref: `ref-${client}`,
  flow_id: uuid(500),
  actor: { id: uuid(501) },
  resource: dnsResource(),
  client: {
    id: uuid(client),
    peer: {
      persistent_keepalive: 25,
      public_key: key(client),
      preshared_key: key(100 + client),
      ipv4: `100.64.1.${client}`,
      ipv6: `fd00:2021:1111::1:${client}`
    },
    payload: {
      ice_parameters: ice("c"),
      domain: { name: "app.corp.example", proxy_ips: ["100.96.0.1", "fd00:2021:1111:8000::1"] } as unknown
    }
  },
  expires_at: null,
  relays,
  ...over
})

export const withDomain = (request: ReturnType<typeof requestConnection>, domain: unknown) => ({
  ...request,
  client: { ...request.client, payload: { ...request.client.payload, domain } }
})

export const allowAccess = (client = 1, over: object = {}) => ({
  ref: `allow-${client}`,
  flow_id: uuid(502),
  client_id: uuid(client),
  resource: dnsResource(),
  expires_at: 1_893_456_000,
  payload: { name: "db.corp.example", proxy_ips: ["100.96.0.2"] },
  client_ipv4: `100.64.1.${client}`,
  client_ipv6: `fd00:2021:1111::1:${client}`,
  ...over
})

export const candidate = (n: number): string => `candidate:fd9e1f2a 1 udp 2130706175 192.0.2.${n} 52625 typ host`

/** One good message of every kind. */
export const everyMessage: ReadonlyArray<readonly [event: string, payload: unknown]> = [
  ["init", init({ authorizations: [{ client_id: uuid(1), resource_id: uuid(10), expires_at: 1_893_456_000 }] })],
  ["relays_presence", { disconnected_ids: [uuid(21)], connected: relays }],
  ["request_connection", requestConnection()],
  ["allow_access", allowAccess()],
  ["authorize_flow", authorizeFlow()],
  ["create_authorization", createAuthorization()],
  ["ice_candidates", { client_id: uuid(1), candidates: [candidate(1), candidate(2)] }],
  ["invalidate_ice_candidates", { client_id: uuid(1), candidates: [candidate(1)] }],
  ["reject_access", { client_id: uuid(1), resource_id: uuid(10), flow_id: uuid(500) }],
  [
    "resource_updated",
    cidrResource(11, { filters: [{ protocol: "tcp", port_range_start: 443, port_range_end: 443 }] })
  ],
  ["access_authorization_expiry_updated", { client_id: uuid(1), resource_id: uuid(10), expires_at: 1_893_456_000 }],
  ["disconnect", { reason: "token_expired" }]
]

const clientInterface = { ipv4: "100.64.1.1", ipv6: "fd00:2021:1111::1:1", upstream_dns: [] }
const clientResource = { ...dnsResource(), address_description: null, gateway_groups: [{ id: uuid(600), name: "hq" }] }
const flow = {
  resource_id: uuid(10),
  gateway_id: uuid(700),
  gateway_group_id: uuid(600),
  gateway_public_key: key(70),
  gateway_ipv4: "100.64.0.1",
  gateway_ipv6: "fd00:2021:1111::1",
  preshared_key: key(71),
  client_ice_credentials: ice("c"),
  gateway_ice_credentials: ice("g")
}

/** The same for what a client is told. */
export const everyClientMessage: ReadonlyArray<readonly [event: string, payload: unknown]> = [
  ["init", { interface: clientInterface, resources: [clientResource], relays }],
  ["config_changed", { interface: clientInterface }],
  ["resource_created_or_updated", clientResource],
  ["resource_deleted", uuid(10)],
  ["flow_created", flow],
  ["flow_creation_failed", { resource_id: uuid(10), reason: "offline", violated_properties: [] }],
  ["ice_candidates", { gateway_id: uuid(700), candidates: [candidate(1)] }],
  ["invalidate_ice_candidates", { gateway_id: uuid(700), candidates: [candidate(1)] }],
  ["relays_presence", { disconnected_ids: [uuid(21)], connected: relays }],
  ["disconnect", { reason: "token_expired" }]
]
