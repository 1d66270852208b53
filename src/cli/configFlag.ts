import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import { defaultConfigPath } from "../config/defaultPaths.ts"

/** `--config FILE`, else `SALLYPORT_CONFIG`, else the default path. */
export const configFlag = Flag.String("config").pipe(
  Flag.withAlias("c"),
  Flag.withMetavar("<file>"),
  Flag.withDescription(`The gateway's configuration (default: SALLYPORT_CONFIG, else ${defaultConfigPath})`),
  Flag.withFallbackConfig(Config.String("SALLYPORT_CONFIG")),
  Flag.withDefault(defaultConfigPath)
)
