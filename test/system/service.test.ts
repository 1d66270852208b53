/** A gateway as a service of an ordinary user, as deploy/debian/sallyport.service has it: what its manager hears, and what it can do. */
import { assert, layer } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import * as LabLayer from "../../layers/lab/Lab.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { notifyAddress } from "../../src/host/serviceNotice.ts"
import { gatewayConfig } from "../support/lab.ts"
import { listenNotify } from "../support/notifySocket.ts"
import { nothing, operate, traces } from "../support/operator.ts"

const uid = 54_321
const capabilities = "net_admin,net_bind_service,sys_nice"
const asService = [
  "setpriv",
  `--reuid=${uid}`,
  `--regid=${uid}`,
  "--clear-groups",
  `--inh-caps=-all,${capabilities.replaceAll(/(\w+)/g, "+$1")}`,
  `--ambient-caps=${capabilities.replaceAll(/(\w+)/g, "+$1")}`,
  `--bounding-set=-all,${capabilities.replaceAll(/(\w+)/g, "+$1")}`,
  "--no-new-privs"
]

layer(LabLayer.layer, { excludeTestServices: true, timeout: "30 seconds" })("a service", (it) => {
  it.effect("of a user with three capabilities does all that root's does, and tells its manager how it is", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const socket = `${lab.directory}/notify`
      const read = yield* listenNotify(notifyAddress(socket)!)
      const heard: Array<string> = []
      const hear = (pattern: RegExp) =>
        Effect.sync(() => heard.push(...read())).pipe(
          Effect.repeat({
            until: () => heard.some((notice) => pattern.test(notice)),
            schedule: Schedule.spaced("50 millis"),
            times: 100
          }),
          Effect.map(() =>
            assert.isTrue(
              heard.some((notice) => pattern.test(notice)),
              heard.join("\n\n")
            )
          )
        )
      // As systemd gives it its directories, and udev everybody the device.
      const given = `chown -R ${uid}:${uid} "$0"; mount -t tmpfs none /dev/net; mknod -m 666 /dev/net/tun c 10 200; exec "$@"`
      yield* lab.exec("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=0"])

      const gateway = yield* operate({
        name: "service",
        config: gatewayConfig({ clientKey: "BKvcnKpFBAl+nNGYZdLBWaVxfFpxZhBd9s1VmmHRBhY=" }),
        wrap: [
          "unshare",
          "--mount",
          "sh",
          "-ec",
          given,
          lab.directory,
          "env",
          `NOTIFY_SOCKET=${socket}`,
          "WATCHDOG_USEC=3000000",
          ...asService
        ]
      })
      const report = yield* gateway.ready
      yield* hear(/^READY=1\nSTATUS=.*0 clients connected/)
      yield* hear(/WATCHDOG=1/)
      const up = yield* traces
      const status = readFileSync(`/proc/${gateway.process.pid}/status`, "utf8")
      const forwards = yield* lab.exec("gateway", ["sysctl", "-n", "net.ipv4.ip_forward"])
      writeFileSync(gateway.configPath, readFileSync(gateway.configPath, "utf8").replace("clients:", "clients: # none"))
      process.kill(gateway.process.pid, "SIGHUP")
      yield* hear(/^RELOADING=1\nMONOTONIC_USEC=\d+$/)
      yield* hear(/^READY=1$/)
      process.kill(gateway.process.pid, "SIGTERM")
      const code = yield* gateway.process.exit
      yield* hear(/^STOPPING=1\nSTATUS=stopping: SIGTERM$/)

      const log = yield* gateway.log
      assert.match(status, new RegExp(`^Uid:\\s+${uid}\\s`, "m"))
      assert.match(status, /^CapEff:\s+0000000000801400$/m)
      assert.strictEqual(forwards.trim(), "1")
      assert.deepStrictEqual([report.host?.wrong, up.devices.length, up.tables.length], [null, 1, 2])
      assert.deepStrictEqual(
        log
          .split("\n")
          .filter((line) => /level=(WARN|ERROR)/.test(line) && !/has a new key|does not answer/.test(line)),
        []
      )
      assert.strictEqual(
        heard.findIndex((notice) => notice.startsWith("READY=1\nSTATUS")),
        0
      )
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(yield* traces, nothing)
    })
  )
})
