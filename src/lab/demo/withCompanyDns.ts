import * as Effect from "effect/Effect"
import { Lab, labAddresses } from "./Lab.ts"

/**
 * A command whose host's `/etc/resolv.conf` names the company's name server; nobody else sees it. Writing the lab's
 * `resolv.conf` changes it while the command runs.
 */
export const withCompanyDns = Effect.fnUntraced(function* (command: ReadonlyArray<string>) {
  const lab = yield* Lab
  const file = yield* lab.writeFile("resolv.conf", `nameserver ${labAddresses.inner.dns.v4}\n`)
  return ["sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', file, ...command]
})
