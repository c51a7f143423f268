package annals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * A producer that awaits the outcome of each command: {@code KIND < commands.jsonl}.
 *
 * <p>Takes one JSON command a line, sends each under its own id, and prints its outcome. A command without an answer is sent
 * again under the same id: it happens once. A line without an id is a new wish: it is given one, and unless it says otherwise
 * it is for the version and head that the last outcome of its aggregate had; when somebody was faster it is rejected, with
 * version_conflict. Exits with 1 if any was rejected.
 */
final class CommandProducer {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Duration SEND_AGAIN = Duration.ofSeconds(10);
  private static final int ATTEMPTS = 3;

  private final String kind;
  private final KafkaProducer<byte[], byte[]> producer;
  private final KafkaConsumer<byte[], byte[]> outcomes;
  private final Map<String, JsonNode> seen = new HashMap<>(); // each aggregate's last outcome: version and head of then

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
    String text = wish(line, JSON.readTree(line));
    JsonNode command = JSON.readTree(text);
    String id = command.get("id").asText();
    String aggregateId = command.get("aggregate_id").asText();
    byte[] key = aggregateId.getBytes(StandardCharsets.UTF_8);
    byte[] value = text.getBytes(StandardCharsets.UTF_8);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      producer.send(new ProducerRecord<>(Settings.PREFIX + "commands." + kind, key, value)).get();
      JsonNode outcome = outcomeOf(id, Instant.now().plus(SEND_AGAIN));
      if (outcome != null) {
        seen.put(aggregateId, outcome);
        return outcome;
      }
    }
    throw new IOException("no outcome of command " + id + ": does a worker run?");
  }

  /** Returns the line as it is sent; what is added stands in front, and the rest as it was written. */
  private String wish(String line, JsonNode command) throws IOException {
    if (command.has("id")) {
      return line;
    }
    ObjectNode added = JSON.createObjectNode().put("id", UUID.randomUUID().toString());
    JsonNode last = seen.get(command.get("aggregate_id").asText());
    if (last != null && !command.has("expected_version") && !command.has("expected_head")) {
      added.set("expected_version", last.get("version"));
      if (!last.get("head").isNull()) {
        added.set("expected_head", last.get("head"));
      }
    }
    String members = JSON.writeValueAsString(added);
    return members.substring(0, members.length() - 1) + ", " + line.substring(line.indexOf('{') + 1);
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
