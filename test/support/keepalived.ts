/** Debian's keepalived at the gateways of a lab's site, with the very file that docs/several-gateways.md tells operators to write. */
import { Effect, type Scope } from "effect"
import { readFileSync } from "node:fs"
import { Lab, type LabError, type LabProcess } from "../../src/lab/demo/Lab.ts"
import { site, type SiteGateway } from "./site.ts"

const page = readFileSync(new URL("../../docs/several-gateways.md", import.meta.url), "utf8")
const [, written = ""] = /^```\n(global_defs [^`]*)^```$/m.exec(page) ?? []

/** Names and addresses of the page → those of the lab. */
const adapted = (notify: string): string =>
  (
    [
      ["interface eth0", "interface outer"],
      ["198.51.100.1/24", `${site.virtual.outer}/24\n    ${site.virtual.inner}/24 dev inner`],
      ["2001:db8::1/64", "2001:db8:113::30/64"],
      ["/usr/bin/sallyport vip-notify", notify],
      ["  track_script {", "  track_interface {\n    inner\n  }\n  track_script {"]
    ] as const
  ).reduce((text, [theirs, ours]) => {
    if (text.split(theirs).length !== 2) throw new Error(`docs/several-gateways.md has not once "${theirs}"`)
    return text.replace(theirs, ours)
  }, written)

/** One of those that share the site's addresses from now on, until the scope closes. */
export const startKeepalived: (gateway: SiteGateway) => Effect.Effect<LabProcess, LabError, Lab | Scope.Scope> =
  Effect.fnUntraced(function* (gateway) {
    const lab = yield* Lab
    const path = (name: string) => `${lab.directory}/${gateway}-${name}`
    const notify = [...lab.program("sallyport"), "vip-notify", "--socket", `${lab.directory}/${gateway}.sock`]
    const config = yield* lab.writeFile(`${gateway}-keepalived.conf`, adapted(notify.join(" ")))
    const files = ["--use-file", config, "--pid", path("keepalived.pid"), "--vrrp_pid", path("vrrp.pid")]
    return yield* lab.spawn(gateway, ["keepalived", "--vrrp", "--dont-fork", "--log-console", ...files])
  })
