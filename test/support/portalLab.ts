/** The development portal and a client of it, as programs in the lab. */
import { Effect, Schedule } from "effect"
import { withCompanyDns } from "../../src/lab/demo/withCompanyDns.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { outer } from "./lab.ts"

export const portalUrl = `ws://${outer.gateway.v4}:8081`

/** Starts the portal at the gateway's host and waits until it is ready. `resources` are lines of its file. */
export const startPortal = Effect.fnUntraced(function* (resources: string) {
  const lab = yield* Lab
  const path = yield* lab.writeFile(
    "portal.yaml",
    `listen: ${outer.gateway.v4}:8081
gateways: { office: { token: gateway-secret } }
clients: { alice: { token: client-secret } }
admin_socket: ${lab.directory}/portal.sock
resources:
${resources}
`
  )
  const portal = yield* lab.spawn("gateway", [...lab.program("sallyport"), "dev-portal", "--config", path])
  yield* says(portal.output, "message=ready")
  return portal
})

/** Starts a client of the portal at the client's host. */
export const startPortalClient = Effect.fnUntraced(function* (
  token = "client-secret",
  env: Readonly<Record<string, string>> = {},
  wrap: ReadonlyArray<string> = []
) {
  const lab = yield* Lab
  return yield* lab.spawn("client", [...wrap, ...lab.program("sallyport"), "connect", "--portal"], {
    env: { FIREZONE_TOKEN: token, FIREZONE_API_URL: portalUrl, FIREZONE_ID: "laptop", FIREZONE_NAME: "laptop", ...env }
  })
})

/** Waits until the output has the words. */
export const says = (output: Effect.Effect<string>, words: string) =>
  output.pipe(
    Effect.repeat({ until: (text) => text.includes(words), schedule: Schedule.spaced("50 millis") }),
    Effect.timeout("20 seconds"),
    Effect.catch(() => Effect.flatMap(output, (text) => Effect.die(new Error(`never said ${words}:\n${text}`))))
  )

/** Starts a gateway of the portal at the gateway's host, which asks the company's name server when it is to. */
export const startPortalGateway = Effect.fnUntraced(function* (
  options: { readonly companyDns?: boolean; readonly wrap?: ReadonlyArray<string> } = {}
) {
  const lab = yield* Lab
  const up = [...(options.wrap ?? []), ...lab.program("sallyport"), "up"]
  return yield* lab.spawn("gateway", options.companyDns === true ? yield* withCompanyDns(up) : up, {
    env: {
      FIREZONE_TOKEN: "gateway-secret",
      FIREZONE_API_URL: portalUrl,
      FIREZONE_ID: "gateway",
      FIREZONE_NAME: "gateway",
      STATE_DIRECTORY: `${lab.directory}/state`,
      SALLYPORT_CONTROL_SOCKET: `${lab.directory}/gateway.sock`
    }
  })
})
