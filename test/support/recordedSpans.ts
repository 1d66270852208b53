/** A tracer that keeps every span that ended, in that order. */
import { Context, Effect, Layer, Tracer } from "effect"

export class RecordedSpans extends Context.Service<RecordedSpans, ReadonlyArray<Tracer.Span>>()("test/RecordedSpans") {}

export const layerRecorder: Layer.Layer<RecordedSpans> = Layer.effectContext(
  Effect.sync(() => {
    const ended: Array<Tracer.Span> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        const end = span.end.bind(span)
        span.end = (time, exit) => {
          end(time, exit)
          ended.push(span)
        }
        return span
      }
    })
    return Context.make(Tracer.Tracer, tracer).pipe(Context.add(RecordedSpans, ended))
  })
)

export const spansOf = (name: string): Effect.Effect<ReadonlyArray<Tracer.Span>, never, RecordedSpans> =>
  Effect.map(RecordedSpans, (spans) => spans.filter((span) => span.name === name))

export const attributesOf = (span: Tracer.Span | undefined): Record<string, unknown> =>
  Object.fromEntries(span?.attributes ?? [])
