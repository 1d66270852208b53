import * as Result from "effect/Result"
import * as SchemaParser from "effect/SchemaParser"
import { ConfigFile } from "./fileSchema.ts"
import type { GatewayConfig } from "./GatewayConfig.ts"
import { issueProblems } from "./issueProblems.ts"
import { type ConfigError, configError } from "./problem.ts"
import { resolveConfig } from "./resolveConfig.ts"
import { makeYamlReader } from "./yamlReader.ts"

const decode = SchemaParser.decodeUnknownResult(ConfigFile, {
  errors: "all",
  onExcessProperty: "error",
  reportInput: true
})

/** What of a file's settings is replaced before they are looked at together. */
export interface Replaced extends Partial<Pick<ConfigFile, "endpoint" | "network" | "state">> {
  /** All that it says of sites. */
  readonly ofSites?: Pick<ConfigFile, "site" | "sites">
}

/**
 * Text of a `sallyport.yaml` to a checked configuration, or all that is wrong with it. `file` is for messages only; `read`
 * knows what it has read before.
 */
export const parseConfig = (
  text: string,
  file: string,
  read = makeYamlReader(),
  { ofSites, ...replaced }: Replaced = {}
): Result.Result<GatewayConfig, ConfigError> => {
  const source = read(text)
  if (Result.isFailure(source)) return Result.fail(configError(file, source.failure))
  const decoded = decode(source.success.value)
  if (Result.isFailure(decoded)) return Result.fail(configError(file, issueProblems(decoded.failure, source.success)))
  const { site: _site, sites: _sites, ...rest } = decoded.success
  const settings = ofSites === undefined ? decoded.success : { ...rest, ...ofSites }
  return Result.mapError(resolveConfig({ ...settings, ...replaced }, source.success, file), (problems) =>
    configError(file, problems)
  )
}
