import * as NodeServices from "@effect/platform-node/NodeServices"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { cli } from "../src/cli/cli.ts"
import { SomethingWrong } from "../src/cli/showStatus.ts"
import type { Failure, Programs } from "../src/cli/Programs.ts"
import { layerUsageErrors, UsageError } from "../src/cli/usageError.ts"
import * as ControlClient from "./cli/ControlClient.ts"
import * as HostAddress from "./cli/HostAddress.ts"
import * as HostIpv6 from "./cli/HostIpv6.ts"
import * as HostNames from "./cli/HostNames.ts"
import * as HostProbes from "./cli/HostProbes.ts"
import * as Keys from "./cli/Keys.ts"
import * as PolicyStores from "./cli/PolicyStores.ts"
import { runProcess } from "./cli/runProcess.ts"
import * as StateFiles from "./cli/StateFiles.ts"
import { layerScreen } from "./cli/runStatus.ts"
import { version } from "./host/version.ts"

/** Runs the command line as the process. `programs` is built for every command, so it should do its work inside them. */
export const runCli = (argv: ReadonlyArray<string>, programs: Layer.Layer<Programs, Failure>): void => {
  const services = Layer.mergeAll(
    NodeServices.layer,
    programs,
    ControlClient.layer,
    layerScreen,
    Keys.layer,
    PolicyStores.layer,
    StateFiles.layer,
    HostNames.layer,
    HostAddress.layer,
    HostIpv6.layer,
    Layer.provide(HostProbes.layer, NodeServices.layer),
    layerUsageErrors
  )
  const command = Command.runWith(cli, { version })(argv).pipe(
    Effect.mapError((error) => (isWrongWord(error) ? wrongWord : error)),
    Effect.provide(services)
  )
  runProcess(command, (error) => error === wrongWord || CliError.isCliError(error) || error instanceof SomethingWrong)
}

/** Which one has been said already, by `layerUsageErrors`. */
const wrongWord = new UsageError({ message: "wrong words on the command line" })

const isWrongWord = (error: unknown): boolean =>
  CliError.isCliError(error) && (error._tag !== "ShowHelp" || error.errors.length > 0)
