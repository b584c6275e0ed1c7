/** Registers an SDK of OpenTelemetry that prints each span to stderr. Load it with `node --import`. */
import { ConsoleSpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';

class StderrExporter extends ConsoleSpanExporter {
  export(spans, done) {
    for (const { name, parentSpanContext } of spans)
      process.stderr.write(`span ${name}${parentSpanContext ? ' in another' : ''}\n`);
    done({ code: 0 });
  }
}

new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new StderrExporter())] }).register();
