/** Where spans go: the Effect dev tools when asked for, an OTLP collector when the `OTEL_*` variables name one. */
import * as Config from "effect/Config"
import type * as Context from "effect/Context"
import * as DevTools from "effect/devtools/DevTools"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Otlp from "effect/observability/Otlp"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as Option from "effect/Option"
import { version } from "./version.ts"

/** The dev tools wrap the OTLP tracer, so that both see every span. */
export const layer = (options: { readonly devTools: boolean }): Layer.Layer<never> =>
  (options.devTools ? DevTools.layer() : Layer.empty).pipe(Layer.provideMerge(otlp))

const otlp: Layer.Layer<never> = Layer.unwrap(
  Effect.gen(function* () {
    const endpoint = yield* Config.option(Config.String("OTEL_EXPORTER_OTLP_ENDPOINT"))
    if (Option.isNone(endpoint)) return Layer.empty
    const exporters = Otlp.layerFromConfig({ resource: { serviceName: "sallyport", serviceVersion: version } })
    return Layer.effectContext(
      Effect.map(
        Layer.build(exporters.pipe(Layer.provide([OtlpSerialization.layerJson, FetchHttpClient.layer]))),
        (context): Context.Context<never> => context
      )
    )
  }).pipe(Effect.orElseSucceed(() => Layer.empty))
)
