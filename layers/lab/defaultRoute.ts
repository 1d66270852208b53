/**
 * Everything of this host into a TUN device, but for what has a more specific route, the packets of our own port (by
 * their mark) and those to the portal: rules of policy routing with the numbers of the portal's clients. The routes
 * vanish with the device, the rules with the scope; a crash leaves rules without a meaning, which the next start
 * replaces.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ClientNetworkError, ipBatch } from "../host/ipBatch.ts"

/** SO_MARK of the sockets that stay outside. */
export const ownMark = 0xfd002021
const table = 0x2021fd00
const specific = "pref 99 lookup main suppress_prefixlength 0"
const others = `pref 100 not fwmark ${ownMark} lookup ${table}`

export interface DefaultRoute {
  /** Once the device has its addresses; again after they have changed. `tunnel6` is `null` without IPv6. */
  readonly set: (device: string, tunnel4: string, tunnel6: string | null) => Effect.Effect<void, ClientNetworkError>
  /** There is no Internet resource any more. */
  readonly clear: (device: string) => Effect.Effect<void, ClientNetworkError>
  /** The portal is reached as before. */
  readonly spare: (portal: string) => Effect.Effect<void, ClientNetworkError>
}

export const makeDefaultRoute: Effect.Effect<DefaultRoute, never, Scope.Scope> = Effect.gen(function* () {
  const rules: Record<Family, Set<string>> = { "-4": new Set(), "-6": new Set() }
  const forget = (family: Family, wanted: Iterable<string>) => {
    const lines = Array.from(wanted, (rule) => `rule del ${rule}`)
    return Effect.ignore(ip([family, "-force"], lines))
  }
  yield* Effect.addFinalizer(() => forBoth((family) => forget(family, rules[family])))

  const add = Effect.fnUntraced(function* (family: Family, wanted: ReadonlyArray<string>) {
    const missing = wanted.filter((rule) => !rules[family].has(rule))
    yield* forget(family, missing)
    for (const rule of missing) rules[family].add(rule)
    const lines = missing.map((rule) => `rule add ${rule}`)
    yield* ip([family], lines)
  })
  return {
    set: (device, tunnel4, tunnel6) =>
      forBoth((family) => {
        const source = family === "-4" ? tunnel4 : tunnel6
        if (source === null) return Effect.void
        const route = `route replace default dev ${device} src ${source} table ${table}`
        return Effect.andThen(ip([family], [route]), add(family, [specific, others]))
      }),
    clear: (device) =>
      Effect.andThen(
        ip(["-4"], [`route flush dev ${device} table ${table}`]),
        // Without IPv6 there is nothing to flush.
        Effect.ignore(ip(["-6"], [`route flush dev ${device} table ${table}`]))
      ),
    spare: (portal) => add(portal.includes(":") ? "-6" : "-4", [`pref 98 to ${portal} lookup main`])
  }
})

type Family = "-4" | "-6"
const forBoth = <E>(act: (family: Family) => Effect.Effect<void, E>) => Effect.andThen(act("-4"), act("-6"))

const ip = (flags: ReadonlyArray<string>, lines: ReadonlyArray<string>) =>
  ipBatch("the way to the Internet", lines, flags)
