/** A zone signed with keys of its own (BIND's tools), one of whose names is changed after that. */
import { readFileSync } from "node:fs"
import { Effect } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"

/**
 * `www` and `forged` at that address; the signature of `forged` is about another one. `file` is for a name server,
 * `anchor` is the key that a validator has to believe.
 */
export const signZone = Effect.fnUntraced(function* (zone: string, address: string) {
  const lab = yield* Lab
  const { directory } = lab
  const signedAddress = "192.0.2.66"
  const file = yield* lab.writeFile(
    `${zone}.unsigned`,
    `$ORIGIN ${zone}.
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 5
@ NS ns
ns A ${address}
www A ${address}
forged A ${signedAddress}
`
  )
  const keygen = ["dnssec-keygen", "-q", "-K", directory, "-a", "ECDSAP256SHA256"]
  const key = (yield* lab.exec("lan", [...keygen, "-f", "KSK", zone])).trim()
  yield* lab.exec("lan", [...keygen, zone])
  yield* lab.exec("lan", ["dnssec-signzone", "-S", "-K", directory, "-d", directory, "-o", zone, file])
  const signed = readFileSync(`${file}.signed`, "utf8")
  const anchor = readFileSync(`${directory}/${key}.key`, "utf8")
    .split("\n")
    .find((line) => line.includes(" DNSKEY "))!
  return {
    anchor,
    file: yield* lab.writeFile(`${zone}.signed`, signed.replaceAll(signedAddress, address))
  }
})
