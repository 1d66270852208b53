import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "vitest"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Who reads the clock that an operator or NTP may set at any moment, and for which dates. All else is `monotonicMillis`. */
const readers: Readonly<Record<string, string>> = {
  "layers/cli/gatewayReport.ts": "the date of a report",
  "layers/control/firezone/ControlPlaneFirezone.ts": "the portal's clock, until the portal says another date",
  "layers/control/standalone/ControlPlaneStandalone.ts": "expiry dates, and dates that outlive the process",
  "layers/control/standalone/KeyRotation.ts": "the date until which an old key answers",
  "layers/control/standalone/TunnelNames.ts": "expiry dates, and dates that outlive the process",
  "layers/control/standalone/clientNames.ts": "expiry dates, and dates that outlive the process",
  "layers/control/standalone/siteNames.ts": "dates that outlive the process",
  "layers/control/standalone/storedSlots.ts": "dates that outlive the process",
  "layers/dataplane/native/packetWorker.ts": "TAI64N",
  "layers/events/EventLog.ts": "dates of what happened",
  "layers/host/bootClock.ts": "hands it on",
  "layers/host/lookAtHost.ts": "dates of files, which are compared with it",
  "layers/host/stateBackup.ts": "the date of a backup",
  "layers/lab/devPortalServer.ts": "expiry dates that the portal hands out",
  "layers/memory/DataPlaneMemory.ts": "TAI64N",
  "layers/memory/PresenceStoreMemory.ts": "the clock of a site's store",
  "layers/memory/SharedStoreMemory.ts": "the clock of a site's store",
  "layers/monitor/Monitor.ts": "the age of what outlives the process",
  "layers/monitor/dashboardRoutes.ts": "dates of what the dashboard draws",
  "layers/shared/SharedState.ts": "a date that outlives the process",
  "layers/shared/site.ts": "a date that outlives the process",
  "src/access/ExpiryClock.ts": "expiry dates",
  "src/cli/bugreport.ts": "the date of a report",
  "src/cli/check.ts": "expiry dates",
  "src/cli/clientShow.ts": "expiry dates",
  "src/cli/doctor.ts": "the date of a report",
  "src/cli/examine.ts": "expiry dates",
  "src/cli/explain.ts": "expiry dates",
  "src/cli/testConfig.ts": "expiry dates"
}

/** The clock itself, and what of Effect and of node measures by it. */
const wallClock = new RegExp(
  [
    "currentTime(Millis|Nanos)",
    "Date\\.now\\b",
    "new Date\\(\\)",
    "DateTime\\.(now|nowAsDate)",
    "performance\\.timeOrigin",
    "cachedWithTTL|cachedInvalidateWithTTL|makeWithTTL|timeToLive|idleTimeToLive",
    "Schedule\\.(during|elapsed|fixed|windowed|cron)\\b",
    'effect/(Cache|ScopedCache|RcMap|Pool|Cron)"'
  ].join("|")
)

const sources = ["src", "layers"].flatMap((folder) =>
  Fs.readdirSync(Path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => Path.join(folder, file))
)

/** Comments may speak of it. */
const codeOf = (file: string): string =>
  Fs.readFileSync(Path.join(root, file), "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "")

describe("the system's clock, which may be set at any moment", () => {
  it("is read only where a date is meant", () => {
    assert.deepStrictEqual(sources.filter((file) => wallClock.test(codeOf(file))).toSorted(), Object.keys(readers))
  })

  it.each([
    "const now = yield* Clock.currentTimeMillis",
    "clock.currentTimeMillisUnsafe()",
    "Date.now()",
    "Effect.cachedWithTTL(load, '1 minute')",
    'import * as Cache from "effect/Cache"'
  ])("is found where it is read: %s", (line) => {
    assert.match(line, wallClock)
  })
})
