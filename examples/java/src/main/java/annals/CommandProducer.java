package annals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * A producer that awaits the outcome of each command: {@code KIND < commands.jsonl}.
 *
 * <p>Takes one JSON command a line, sends each as it stands, and prints its outcome. A command without an answer is sent again
 * under the same id: it happens once. Exits with 1 if any was rejected.
 */
final class CommandProducer {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Duration SEND_AGAIN = Duration.ofSeconds(10);
  private static final int ATTEMPTS = 3;

  private final String kind;
  private final KafkaProducer<byte[], byte[]> producer;
  private final KafkaConsumer<byte[], byte[]> outcomes;

  private CommandProducer(String kind, KafkaProducer<byte[], byte[]> producer, KafkaConsumer<byte[], byte[]> outcomes) {
    this.kind = kind;
    this.producer = producer;
    this.outcomes = outcomes;
    // From here on, before anything is sent, so that no outcome is missed; one consumer for all commands.
    List<TopicPartition> partitions = Settings.partitions(outcomes, "outcomes." + kind);
    outcomes.assign(partitions);
    outcomes.endOffsets(partitions).forEach(outcomes::seek);
  }

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 1) {
      System.err.println("usage: CommandProducer KIND < commands.jsonl");
      System.exit(2);
    }
    int rejected = 0;
    try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(Settings.forWriting());
        KafkaConsumer<byte[], byte[]> outcomes = new KafkaConsumer<>(Settings.forReading());
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      CommandProducer commands = new CommandProducer(arguments[0], producer, outcomes);
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        JsonNode outcome = commands.send(line);
        rejected += outcome.get("status").asText().equals("rejected") ? 1 : 0;
        System.out.println(outcome);
      }
    }
    System.exit(rejected == 0 ? 0 : 1);
  }

  private JsonNode send(String line) throws IOException, InterruptedException, ExecutionException {
    JsonNode command = JSON.readTree(line);
    String id = command.get("id").asText();
    byte[] key = command.get("aggregate_id").asText().getBytes(StandardCharsets.UTF_8);
    byte[] value = line.getBytes(StandardCharsets.UTF_8);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      producer.send(new ProducerRecord<>(Settings.PREFIX + "commands." + kind, key, value)).get();
      JsonNode outcome = outcomeOf(id, Instant.now().plus(SEND_AGAIN));
      if (outcome != null) {
        return outcome;
      }
    }
    throw new IOException("no outcome of command " + id + ": does a worker run?");
  }

  private JsonNode outcomeOf(String id, Instant until) throws IOException {
    while (Instant.now().isBefore(until)) {
      for (ConsumerRecord<byte[], byte[]> record : outcomes.poll(Duration.ofMillis(500))) {
        JsonNode outcome = JSON.readTree(record.value());
        if (outcome.get("command_id").asText().equals(id)) {
          return outcome;
        }
      }
    }
    return null;
  }
}
