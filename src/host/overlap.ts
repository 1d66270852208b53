import * as Schema from "effect/Schema"

/** A route as `ip -j route show table all` prints it; more fields come along. */
export const Route = Schema.Struct({
  dst: Schema.String,
  type: Schema.optionalKey(Schema.String),
  dev: Schema.optionalKey(Schema.String),
  gateway: Schema.optionalKey(Schema.String),
  prefsrc: Schema.optionalKey(Schema.String),
  table: Schema.optionalKey(Schema.String)
})
export type Route = typeof Route.Type

/**
 * One line when the host already uses some of `network`; `undefined` when it does not. `routes` are those inside of or
 * around the network. Default routes, the gateway's own device and networks merely closed off by a wider route do not count.
 */
export const describeOverlap = (
  what: "tunnel" | "proxy",
  network: string,
  routes: ReadonlyArray<Route>,
  device: string
): string | undefined => {
  const route = routes.find((r) => r.dev !== device && isInUse(r))
  if (route === undefined) return undefined
  const via = `${route.gateway === undefined ? "" : ` via ${route.gateway}`}${route.dev === undefined ? "" : ` dev ${route.dev}`}`
  const theirs =
    route.type === "local"
      ? `the host's own address ${route.dst}${route.dev === undefined ? "" : ` (${route.dev})`}`
      : `the host's route ${route.dst}${via}`
  return `the ${what} network ${network} overlaps ${theirs}: choose another range under "network:" in the configuration, or remove that ${route.type === "local" ? "address" : "route"}`
}

const isInUse = (route: Route): boolean => {
  if (route.dst === "default") return false
  if (route.type !== undefined && passive.has(route.type)) return false
  // VPN clients split the default route into two halves.
  const slash = route.dst.indexOf("/")
  return slash < 0 || Number(route.dst.slice(slash + 1)) > 1
}

const passive = new Set(["broadcast", "multicast", "anycast", "unreachable", "blackhole", "prohibit", "throw"])
