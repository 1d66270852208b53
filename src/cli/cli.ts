import * as Command from "effect/cli/Command"
import { apply } from "./apply.ts"
import { backup } from "./backup.ts"
import { bugreport } from "./bugreport.ts"
import { check } from "./check.ts"
import { client } from "./client.ts"
import { clientConfig } from "./clientConfig.ts"
import { connect } from "./connect.ts"
import { demo } from "./demo.ts"
import { devPortal } from "./devPortal.ts"
import { doctor } from "./doctor.ts"
import { drain } from "./drain.ts"
import { explain } from "./explain.ts"
import { forgetGateway } from "./forgetGateway.ts"
import { genkey } from "./genkey.ts"
import { key } from "./key.ts"
import { log } from "./log.ts"
import { importNames } from "./import.ts"
import { init } from "./init.ts"
import { pubkey } from "./pubkey.ts"
import { reload } from "./reload.ts"
import { restore } from "./restore.ts"
import { status } from "./status.ts"
import { undrain } from "./undrain.ts"
import { up } from "./up.ts"
import { vipNotify } from "./vipNotify.ts"

/** The `sallyport` command with everything below it; needs `Programs`, `ControlClient`, `PolicyStores`, `StateFiles`, `HostProbes` and `Keys`. */
export const cli = Command.make("sallyport").pipe(
  Command.withDescription(
    "A zero-trust gateway that lets clients in at once and resolves the names of what they may reach in the background"
  ),
  Command.withSubcommands([
    up,
    check,
    status,
    explain,
    log,
    reload,
    apply,
    doctor,
    bugreport,
    connect,
    demo,
    init,
    client,
    clientConfig,
    backup,
    restore,
    importNames,
    key,
    vipNotify,
    drain,
    undrain,
    forgetGateway,
    genkey,
    pubkey,
    devPortal
  ])
)
