package annals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

/**
 * A subscriber that answers: an event is acknowledged once what was made of it is on disk, and else refused or parked:
 * {@code NAME LEDGER}.
 *
 * <p>{@code enter} is where your work goes. What it makes of an event is kept in a ledger with the event's CID: killed
 * between that and the answer, the program is given the event again and finds it there. In a database both are one
 * transaction. SIGTERM ends it behind the event in hand; what was not answered comes again.
 */
final class AnsweringSubscriber {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int LONGEST = 120;
  private static final int LONGEST_REASON = 1_000;
  private static volatile boolean isToldToEnd;
  private static volatile int status = 1;

  /** It is of no use to try again: the event is parked, and later ones of its aggregate wait for an administrator. */
  private static final class NeverException extends Exception {
    private static final long serialVersionUID = 1L;

    NeverException(String reason) {
      super(reason);
    }
  }

  private final Path closed;
  private final RandomAccessFile ledger; // a line for each delivery
  private final Set<String> done = new HashSet<>(); // the CIDs of the events whose work is done
  private final Map<Integer, Long> positions = new HashMap<>(); // where partitions go on
  private final Map<String, Integer> met = new LinkedHashMap<>();

  private AnsweringSubscriber(Path path) throws IOException {
    closed = Path.of(path + ".closed");
    ledger = new RandomAccessFile(path.toFile(), "rw");
    byte[] lines = Files.readAllBytes(path);
    int end = lines.length;
    while (end > 0 && lines[end - 1] != '\n') {
      end--;
    }
    ledger.setLength(end); // what a kill left of a line was never answered
    ledger.seek(end);
    for (String line : new String(lines, 0, end, StandardCharsets.UTF_8).lines().toList()) {
      know(JSON.readTree(line));
    }
    List.of("done", "done before", "refused", "parked").forEach(each -> met.put(each, 0));
  }

  public static void main(String[] arguments) throws IOException {
    if (arguments.length != 2) {
      System.err.println("usage: AnsweringSubscriber NAME LEDGER");
      System.exit(2);
    }
    Thread main = Thread.currentThread();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> end(main)));
    new AnsweringSubscriber(Path.of(arguments[1])).answer(arguments[0]);
    status = 0;
  }

  /** Waits until the event in hand is answered: the machine stops as soon as this returns. */
  private static void end(Thread main) {
    isToldToEnd = true;
    try {
      main.join();
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
    Runtime.getRuntime().halt(status); // and not 143, which says that it was killed
  }

  /** Returns what is kept of an event. An exception that is no NeverException says: not now. */
  private String enter(byte[] value) throws IOException, NeverException {
    if (Files.exists(closed)) {
      throw new IOException("the ledger is closed");
    }
    if (value.length > LONGEST) {
      throw new NeverException(value.length + " bytes, and the ledger has room for " + LONGEST);
    }
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(value)).toString();
    } catch (CharacterCodingException error) {
      throw new NeverException("no text: the subscription's payload is to be data");
    }
  }

  private void answer(String name) throws IOException {
    String acks = Settings.PREFIX + "acks." + name;
    // The producer is closed first, which sends what it has.
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(Settings.forReading());
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(Settings.forWriting())) {
      List<TopicPartition> partitions = Settings.partitions(consumer, "subscribers." + name);
      consumer.assign(partitions);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      consumer.beginningOffsets(partitions).forEach((partition, first) -> { // the topic keeps 7 days
        long known = positions.getOrDefault(partition.partition(), first);
        consumer.seek(partition, first <= known && known <= ends.get(partition) ? known : first);
      });
      while (!isToldToEnd) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
          // The key is the aggregate's id, whatever the event's own is. An answer that is lost costs one more delivery.
          byte[] key = header(record, "ce_subject").getBytes(StandardCharsets.UTF_8);
          producer.send(new ProducerRecord<>(acks, key, take(record)), (sent, error) -> {
            if (error != null) {
              System.err.println("an answer was lost: " + error);
            }
          });
          if (isToldToEnd) {
            break;
          }
        }
      }
    }
    System.out.println(
        met.entrySet().stream().map(each -> each.getValue() + " " + each.getKey()).collect(Collectors.joining(", ")));
  }

  /** Does the work for an event unless it is done, keeps what became of it, and returns the answer. */
  private byte[] take(ConsumerRecord<byte[], byte[]> record) throws IOException {
    String cid = header(record, "ce_id");
    String subject = header(record, "ce_subject");
    long version = Long.parseLong(header(record, "ce_sequence"));
    String redelivery = header(record, "ce_redelivery");
    int attempt = redelivery == null ? 1 : Integer.parseInt(redelivery); // the first delivery has no such header
    String became = "done before";
    String verdict = "ack";
    String data = null;
    String reason = null;
    if (!done.contains(cid)) {
      try {
        data = enter(record.value());
        became = "done";
      } catch (NeverException error) {
        became = "parked";
        verdict = "park";
        reason = error.getMessage();
      } catch (IOException | RuntimeException error) { // a fault in the work, too: it comes again, and others go on
        became = "refused";
        verdict = "nack";
        reason = String.valueOf(error.getMessage());
      }
    }
    // Before the answer: the other way round, a kill between the two would lose the event.
    keep(JSON.createObjectNode().put("cid", cid).put("subject", subject).put("version", version).put("attempt", attempt)
        .put("became", became).put("data", data).put("partition", record.partition()).put("offset", record.offset()));
    met.merge(became, 1, Integer::sum);
    String delivery = attempt == 1 ? "first delivery" : "delivery " + attempt;
    System.out.printf("%s version %d, %s: %s%n", subject, version, delivery, became);
    String source = header(record, "ce_source");
    String kind = source.substring(source.lastIndexOf('/') + 1);
    ObjectNode answer = JSON.createObjectNode().put("cid", cid).put("kind", kind).put("attempt", attempt)
        .put("verdict", verdict);
    if (reason != null) {
      answer.put("reason", reason.substring(0, Math.min(reason.length(), LONGEST_REASON)));
    }
    return JSON.writeValueAsBytes(answer);
  }

  /** Returns when the line is on disk. Where that fails the program ends, and answers nothing. */
  private void keep(ObjectNode entry) throws IOException {
    ledger.write((JSON.writeValueAsString(entry) + "\n").getBytes(StandardCharsets.UTF_8));
    ledger.getFD().sync();
    know(entry);
  }

  private void know(JsonNode entry) {
    positions.put(entry.get("partition").asInt(), entry.get("offset").asLong() + 1);
    if (entry.get("became").asText().equals("done")) {
      done.add(entry.get("cid").asText());
    }
  }

  private static String header(ConsumerRecord<byte[], byte[]> record, String name) {
    Header found = record.headers().lastHeader(name);
    return found == null || found.value() == null ? null : new String(found.value(), StandardCharsets.UTF_8);
  }
}
