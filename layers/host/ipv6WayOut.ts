/** Looks whether this host has a way out for IPv6: a route, of whatever table, and forwarding. Followed as long as it lives. */
import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { IpFamilies } from "../../src/host/IpFamilies.ts"
import { someLeadsOut } from "../../src/host/ipv6Routes.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"

const lookEvery = "1 second"
/** A route that is changed is gone for a moment, and forwarding is put right when somebody has switched it off. */
const looksUntilAbsent = 3
/** Of the table at a time: a router's has a hundred megabytes, and one route is enough. */
const chunkBytes = 65_536

export const layer = (device: string): Layer.Layer<never, never, IpFamilies> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const families = yield* IpFamilies
      let absent = 0
      const look = Effect.suspend(() => {
        const why = whyNoWayOut(device)
        // The device is judged by whoever sets it up.
        if (why === undefined) return Effect.void
        absent = why === null ? 0 : absent + 1
        return why === null || absent >= looksUntilAbsent ? families.found("wayOut", why) : Effect.void
      })
      absent = looksUntilAbsent
      yield* look
      yield* Effect.forkScoped(superviseForever("IpFamilies.wayOut", Effect.andThen(Effect.sleep(lookEvery), look)))
    })
  )

/** `null`: it has one; `undefined`: the device has no IPv6 (yet). */
const whyNoWayOut = (device: string): string | null | undefined => {
  if (firstLine(`/proc/sys/net/ipv6/conf/${device}/disable_ipv6`) !== "0") return undefined
  const lost = "names get no IPv6 addresses, and who sends to one is told that it is unreachable"
  if (!hasRoute(device))
    return `IPv6 has no way out of this host: ${lost} (give it an IPv6 route if it should have one)`
  return firstLine("/proc/sys/net/ipv6/conf/all/forwarding") === "0"
    ? `IPv6 is not forwarded by this host: ${lost} (set net.ipv6.conf.all.forwarding=1)`
    : null
}

const hasRoute = (device: string): boolean => {
  let file: number
  try {
    file = fs.openSync("/proc/net/ipv6_route", "r")
  } catch {
    return false
  }
  try {
    const chunk = Buffer.alloc(chunkBytes)
    let rest = ""
    for (;;) {
      const length = fs.readSync(file, chunk)
      if (length === 0) return someLeadsOut(rest, device)
      const text = rest + chunk.toString("latin1", 0, length)
      const end = text.lastIndexOf("\n")
      if (someLeadsOut(text.slice(0, end + 1), device)) return true
      rest = text.slice(end + 1)
    }
  } catch {
    return false
  } finally {
    fs.closeSync(file)
  }
}

const firstLine = (path: string): string | undefined => {
  try {
    return fs.readFileSync(path, "utf8").trim()
  } catch {
    return undefined
  }
}
