import { assert, it } from "@effect/vitest"
import { Result } from "effect"
import { renderQr } from "../../src/cli/renderQr.ts"
import { parseWireguardConf } from "../../src/config/wireguardConf.ts"
import { key } from "../config/fixtures.ts"
import { readQr } from "../support/readQr.ts"

const confOf = (networks: string) => `# alice at vpn.example.com
[Interface]
PrivateKey = ${key(250)}
Address = 100.64.123.123/32, fd00:2021:1111::1f:abcd/128
DNS = 100.64.0.1, fd00:2021:1111::1, corp.internal
MTU = 1280

[Peer]
PublicKey = ${key(251)}
PresharedKey = ${key(252)}
AllowedIPs = ${networks}
Endpoint = vpn.example.com:51820
PersistentKeepalive = 25
`
const usual = "100.64.0.0/11, 100.96.0.0/11, fd00:2021:1111::/107, fd00:2021:1111:8000::/107"

it("a QR code as printed is read back as the same settings, and fits into a terminal of 80 columns", () => {
  const conf = confOf(usual)
  const code = renderQr(conf)!
  const read = readQr(code)!

  assert.deepStrictEqual(parseWireguardConf(read, "phone"), parseWireguardConf(conf, "phone"))
  assert.isTrue(Result.isSuccess(parseWireguardConf(read, "phone")))
  assert.isAtMost(code.indexOf("\n"), 80)
})

it("a file that is too long for a QR code gets none", () => {
  const many = (count: number) => Array.from({ length: count }, (_, i) => `10.${i}.0.0/16`).join(", ")

  assert.isNotNull(renderQr(confOf(many(180))))
  assert.isNull(renderQr(confOf(many(250))))
})
