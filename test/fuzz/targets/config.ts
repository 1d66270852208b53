/** The files that operators write: the gateway's, WireGuard's, the portal's; and what one line says of a mistake. */
import * as Result from "effect/Result"
import { parseConfig } from "../../../src/config/parseConfig.ts"
import { parseWireguardConf } from "../../../src/config/wireguardConf.ts"
import { parsePortalConfig } from "../../../src/lab/devPortal/configFile.ts"
import { invariant, type Target, utf8 } from "../Target.ts"

const gateway = `endpoint: vpn.example.com:51820
resolvers: { corp: ["udp://10.0.0.53", "udp://10.0.1.53"] }
clients:
  alice-laptop: { public_key: "WEbAYbfPFzqIkAUvIwc3Rxak2Rcl611d9JaTC+ovKE8=", groups: [eng] }
resources:
  gitlab: { name: gitlab.corp.internal, ports: [tcp/22, tcp/443, icmp], resolver: corp, allow: [eng] }
  services: { name: "*.svc.corp.internal", resolver: corp, allow: [eng], expires: 2027-01-01 }
  lab: { cidr: 10.20.0.0/16, allow: [alice-laptop] }
network: { tunnel_ipv4: 100.64.0.0/11, mtu: 1280 }
`
const wireguard = `[Interface]
PrivateKey = cGFzc3dvcmRwYXNzd29yZHBhc3N3b3JkcGFzc3dvcmQ=
Address = 10.0.0.2/32
[Peer]
PublicKey = cGFzc3dvcmRwYXNzd29yZHBhc3N3b3JkcGFzc3dvcmQ=
Endpoint = 1.2.3.4:51820
AllowedIPs = 0.0.0.0/0
`
const portal = `gateways: { hq: { token: gateway-token-0123456789 } }
clients: { users: { token: client-token-0123456789 } }
resources:
  app: { name: "*.corp.example", sites: [hq], allow: [users] }
`

export const target: Target = {
  seeds: utf8(gateway, wireguard, portal, "a: &x [1,2]\nb: *x\n", "? [a]\n: b\n", "a: |\n  x\nb: >-\n y\n"),
  dictionary: utf8(
    "&a",
    "*a",
    "!!binary ",
    "<<: ",
    "__proto__",
    "constructor",
    "tcp/0-65535",
    "- ",
    "{",
    "}",
    "[",
    "\n---\n",
    "\t",
    "%YAML 1.1\n",
    "internet: true",
    "0.0.0.0/0",
    "expires: ",
    '"\\u0000"',
    "\u001b[31m",
    "[Peer]\n",
    "Endpoint = ",
    "PostUp = "
  ),
  maxLength: 3_000,
  lifetime: 1,
  bound: 100,
  start: () => (input) => {
    const text = Buffer.from(input).toString("utf8")
    for (const parse of [parseConfig, parseWireguardConf, parsePortalConfig]) {
      const parsed: Result.Result<unknown, { readonly message: string }> = parse(text, "f.yaml")
      if (Result.isSuccess(parsed)) continue
      const { message } = parsed.failure
      invariant(message.length > 0, "a mistake is told")
      // What a terminal would obey: the file may come from somebody else.
      invariant(
        !/(?!\n)\p{Cc}/u.test(message),
        `control characters in "${encodeURI(message.slice(0, 200).toWellFormed())}"`
      )
    }
    invariant(!("polluted" in {}), "no prototype is changed")
  }
}
